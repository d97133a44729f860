//! The broker: what it keeps, delivers, and hears.

use convoke_core::broker::{Commit, Delay, Progress, Settle};
use convoke_core::{Epoch, PartId, Position};
use convoke_engine::{Answer, In, Meta, Slot, Time};

use super::driver::Body;
use super::{Lived, PARTS, World};
use crate::{Reached, Violation};

/// A message at the broker.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) position: u64,
    pub(super) meta: Meta,
    pub(super) acked: bool,
    /// The delivery that may settle it.
    pub(super) out: Option<u64>,
    pub(super) attempts: u32,
    pub(super) deaths: u32,
    pub(super) deliveries: u32,
    pub(super) after: Time,
    pub(super) due: Option<Time>,
}

/// A partition at the broker.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) kept: Vec<Kept>,
    pub(super) epoch: u64,
    pub(super) assigned: bool,
    pub(super) revoking: Option<Time>,
    pub(super) until: Option<Time>,
    pub(super) unclean: bool,
    /// Whether what it holds waits, so that little of it is to be taken ahead.
    pub(super) waits: bool,
    pub(super) credit: i64,
    pub(super) bytes: i64,
    /// By watermark: where this assignment began, and what is delivered next.
    pub(super) begin: usize,
    pub(super) cursor: usize,
    pub(super) upto: u64,
    pub(super) progress: Progress,
}

impl World {
    /// The broker takes the partition back.
    pub(super) fn end(&mut self, p: usize, unclean: bool) {
        let log = &mut self.logs[p];
        log.assigned = false;
        log.revoking = None;
        log.unclean |= unclean;
        for kept in &mut log.kept {
            kept.out = None;
        }
    }

    pub(super) fn apply(&mut self, body: Body, settle: Settle) -> Answer {
        let now = self.now;
        let native = matches!(self.config.delay, Delay::Native { .. });
        let log = &mut self.logs[body.part];
        let kept = &mut log.kept[body.index];
        if let Settle::Mark { deaths } = settle
            && log.assigned
            && log.epoch == body.epoch
        {
            kept.deaths = deaths;
            return Answer::Applied;
        }
        if !log.assigned || log.epoch != body.epoch || kept.out != Some(body.token) {
            return Answer::Stale;
        }
        match settle {
            Settle::Ack => {
                kept.acked = true;
                kept.out = None;
            }
            Settle::Nack { delay, attempts, hold } => {
                kept.out = None;
                kept.attempts = attempts;
                if native && !hold {
                    kept.after = now.after(delay);
                } else {
                    kept.due = Some(now.after(delay));
                }
            }
            _ => {}
        }
        Answer::Applied
    }

    pub(super) fn keep(&mut self, p: usize, epoch: u64, commit: Option<Commit>) -> Answer {
        let log = &mut self.logs[p];
        if !log.assigned || log.epoch != epoch {
            return Answer::Stale;
        }
        if let Some(commit) = commit {
            if let Position::Offset(upto) = commit.upto {
                log.upto = upto;
            }
            log.progress = commit.progress;
        }
        Answer::Applied
    }

    pub(super) fn deliver(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        let most = 1 + self.rng.below(6) as usize;
        self.deliver_from(p, most).map(|_| ())
    }

    pub(super) fn deliver_from(&mut self, p: usize, most: usize) -> Result<bool, Violation> {
        let watermark = self.watermark();
        let now = self.now;
        let mut metas = Vec::new();
        while metas.len() < most {
            let log = &self.logs[p];
            if !log.assigned || log.credit <= 0 || log.bytes <= 0 {
                break;
            }
            let next = if watermark {
                let again = log.cursor > log.begin && self.rng.chance(3);
                if again {
                    self.stats.count(Reached::FaultRedelivery);
                    Some(log.begin + self.rng.below((log.cursor - log.begin) as u64) as usize)
                } else {
                    (log.cursor < log.kept.len()).then_some(log.cursor)
                }
            } else {
                log.kept.iter().position(|kept| !kept.acked && kept.out.is_none() && kept.after <= now)
            };
            let Some(index) = next else { break };
            self.deliveries += 1;
            let token = self.deliveries;
            let free = self.bodies.iter().position(|body| !body.live);
            let place = free.unwrap_or_else(|| {
                self.bodies.push(Body::default());
                self.bodies.len() - 1
            });
            let log = &mut self.logs[p];
            let kept = &mut log.kept[index];
            let body = &mut self.bodies[place];
            *body = Body { generation: body.generation + 1, live: true, part: p, epoch: log.epoch, index, token };
            kept.out = Some(token);
            kept.deliveries += 1;
            let position = if self.tags { Position::Tag(token) } else { Position::Offset(kept.position) };
            let meta = Meta {
                slot: Slot { index: place as u32, generation: body.generation },
                position,
                attempts: kept.attempts,
                deliveries: if watermark { 1 } else { kept.deliveries },
                deaths: kept.deaths,
                due: kept.due.filter(|&due| due > now),
                ..kept.meta
            };
            log.credit -= 1;
            log.bytes -= i64::from(meta.bytes);
            if watermark && index == log.cursor {
                log.cursor += 1;
            }
            metas.push(meta);
        }
        if metas.is_empty() {
            return Ok(false);
        }
        let epoch = Epoch(self.logs[p].epoch);
        self.feed(In::Delivered { part: PartId(p as u32), epoch, metas: &metas })?;
        Ok(true)
    }
}

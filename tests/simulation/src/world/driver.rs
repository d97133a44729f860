//! The driver: it carries out what the engine says, and brings the answers, some of them wrong or late.

use convoke_core::broker::{Commit, Settle};
use convoke_core::{Epoch, PartId};
use convoke_engine::{Answer, In, Out, Published, Slot};

use super::{Lived, World};
use crate::Reached;

/// What the driver knows of a slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Body {
    pub(super) generation: u32,
    pub(super) live: bool,
    pub(super) part: usize,
    pub(super) epoch: u64,
    pub(super) index: usize,
    pub(super) token: u64,
}

#[derive(Debug)]
pub(super) enum Op {
    Settle { slot: Slot, body: Body, settle: Settle },
    Publish { slot: Slot },
    Commit { part: usize, epoch: u64, commit: Option<Commit> },
}

impl World {
    pub(super) fn carry_out(&mut self, out: Out, commits: &[Option<Commit>]) {
        match out {
            Out::Start { slot, .. } | Out::StartBatch { slot, .. } => self.running.push(slot),
            Out::Cancel { slot } => self.running.retain(|&running| running != slot),
            Out::PublishReturned { slot } | Out::PublishDead { slot, .. } | Out::PublishRetry { slot, .. } => {
                self.ops.push(Op::Publish { slot });
            }
            Out::Settle { slot, settle } => {
                self.ops.push(Op::Settle { slot, body: self.bodies[slot.index as usize], settle });
            }
            Out::Commit { part, epoch } => {
                let part = part.0 as usize;
                self.ops.push(Op::Commit { part, epoch: epoch.0, commit: commits[part].clone() });
            }
            Out::Grant { part, messages, bytes, .. } => {
                let log = &mut self.logs[part.0 as usize];
                log.credit += i64::from(messages);
                log.bytes += bytes as i64;
            }
            Out::Revoked { part, epoch } => {
                let p = part.0 as usize;
                // It may have been given to us again in the same step.
                if self.logs[p].epoch == epoch.0 {
                    self.settle_some(Some(p));
                    self.end(p, false);
                }
            }
            Out::Swap { held, new } => self.bodies[held.index as usize].token = self.bodies[new.index as usize].token,
            Out::Free { slot, .. } => self.bodies[slot.index as usize].live = false,
            Out::Drained => self.drained = true,
            Out::Note(_) => {}
        }
    }

    /// What was on its way when its owner stopped listening may have arrived.
    pub(super) fn settle_some(&mut self, only: Option<usize>) {
        for k in 0..self.ops.len() {
            if self.rng.chance(60) {
                match &self.ops[k] {
                    Op::Settle { body, settle, .. } if only.is_none_or(|p| p == body.part) => {
                        let (body, settle) = (*body, *settle);
                        self.apply(body, settle);
                    }
                    Op::Commit { part, epoch, commit } if only.is_none_or(|p| p == *part) => {
                        let (part, epoch, commit) = (*part, *epoch, commit.clone());
                        self.keep(part, epoch, commit);
                    }
                    _ => {}
                }
            }
        }
    }

    pub(super) fn answer(&mut self) -> Lived {
        if self.ops.is_empty() {
            return Ok(());
        }
        let mut k = self.rng.below(self.ops.len() as u64) as usize;
        if matches!(self.ops[k], Op::Settle { .. }) {
            // A connection answers in order.
            k = self.ops.iter().position(|op| matches!(op, Op::Settle { .. })).unwrap_or(k);
        }
        let fault = self.rng.chance(12);
        self.answer_one(k, fault)
    }

    pub(super) fn answer_one(&mut self, k: usize, fault: bool) -> Lived {
        match self.ops.remove(k) {
            Op::Settle { slot, body, settle } => {
                let answer = if fault {
                    self.stats.count(Reached::FaultSettlementWithoutAnAnswer);
                    if self.rng.chance(50) {
                        self.apply(body, settle);
                    }
                    Answer::Failed
                } else {
                    self.apply(body, settle)
                };
                self.feed(In::Settled { slot, settle, answer })
            }
            Op::Publish { slot } => {
                let result = match (fault, self.rng.chance(65)) {
                    (false, _) => Published::Confirmed,
                    (true, true) => {
                        self.stats.count(Reached::FaultPublishRefused);
                        Published::Refused
                    }
                    (true, false) => {
                        self.stats.count(Reached::FaultPublishWithoutAnAnswer);
                        Published::Again
                    }
                };
                self.feed(In::Published { slot, result })
            }
            Op::Commit { part, epoch, commit } => {
                let answer = if fault {
                    self.stats.count(Reached::FaultCommitWithoutAnAnswer);
                    if self.rng.chance(50) {
                        self.keep(part, epoch, commit);
                    }
                    Answer::Failed
                } else {
                    self.keep(part, epoch, commit)
                };
                self.feed(In::Committed { part: PartId(part as u32), epoch: Epoch(epoch), answer })
            }
        }
    }
}

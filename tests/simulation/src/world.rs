//! A model of driver and broker around one engine after another.

use std::time::Duration;

use convoke_core::broker::{Commit, Delay, Progress, Resume, Settle, SettleBy};
use convoke_core::{BatchOptions, DeadReason, Epoch, OnRetry, PartId, Position, RetryOptions};
use convoke_engine::{Answer, Config, Engine, In, Meta, Note, Out, Published, Route, RouteId, Slot, Time, Verdict};

use crate::{Oracle, Rng, Sabotage, Stats, Violation};

const PARTS: usize = 3;
const EVENTS: u64 = 220;

/// What a trace came to.
#[derive(Debug)]
pub struct Report {
    /// What was reached.
    pub stats: Stats,
    /// How many inputs there were.
    pub inputs: u64,
    /// Every step, if it was asked for.
    pub trace: Vec<String>,
}

/// A trace that went wrong.
#[derive(Debug)]
pub struct Failure {
    /// What does not hold.
    pub violation: Violation,
    /// Every step up to there, if it was asked for.
    pub trace: Vec<String>,
}

/// Runs the trace of a seed.
///
/// # Errors
/// What does not hold, and how it came to that.
pub fn run(seed: u64, sabotage: Option<Sabotage>, record: bool) -> Result<Report, Failure> {
    let mut world = World::new(seed, sabotage, record);
    match world.live() {
        Ok(()) => Ok(Report { stats: world.stats, inputs: world.inputs, trace: world.trace }),
        Err(violation) => Err(Failure { violation, trace: world.trace }),
    }
}

type Lived = Result<(), Violation>;

/// A message at the broker.
#[derive(Debug)]
struct Kept {
    position: u64,
    meta: Meta,
    acked: bool,
    /// The delivery that may settle it.
    out: Option<u64>,
    attempts: u32,
    deaths: u32,
    deliveries: u32,
    after: Time,
    due: Option<Time>,
}

/// A partition at the broker.
#[derive(Debug, Default)]
struct Log {
    kept: Vec<Kept>,
    epoch: u64,
    assigned: bool,
    revoking: Option<Time>,
    until: Option<Time>,
    unclean: bool,
    credit: i64,
    bytes: i64,
    /// By watermark: where this assignment began, and what is delivered next.
    begin: usize,
    cursor: usize,
    upto: u64,
    progress: Progress,
}

/// What the driver knows of a slot.
#[derive(Debug, Clone, Copy, Default)]
struct Body {
    generation: u32,
    live: bool,
    part: usize,
    epoch: u64,
    index: usize,
    token: u64,
}

#[derive(Debug)]
enum Op {
    Settle { slot: Slot, body: Body, settle: Settle },
    Publish { slot: Slot },
    Commit { part: usize, epoch: u64, commit: Option<Commit> },
}

struct World {
    rng: Rng,
    now: Time,
    config: Config,
    engine: Engine,
    oracle: Oracle,
    logs: Vec<Log>,
    bodies: Vec<Body>,
    running: Vec<Slot>,
    ops: Vec<Op>,
    paused: Vec<bool>,
    deliveries: u64,
    tags: bool,
    draining: bool,
    drained: bool,
    stats: Stats,
    inputs: u64,
    sabotage: Option<Sabotage>,
    record: bool,
    trace: Vec<String>,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config(rng: &mut Rng) -> Config {
    let watermark = rng.chance(40);
    let routes = 1 + rng.below(3);
    Config {
        settle: if watermark { SettleBy::Watermark } else { SettleBy::Message },
        delay: match rng.below(if watermark { 2 } else { 3 }) {
            0 => Delay::InPlace,
            1 => Delay::Republish,
            _ => Delay::Native { max: ms(rng.pick(&[60, 2000])) },
        },
        lease: if watermark || rng.chance(50) { None } else { Some(ms(rng.pick(&[90, 600]))) },
        marks: rng.chance(50),
        deaths: rng.below(4) as u32,
        messages: rng.pick(&[2, 4, 8, 16, 64]),
        bytes: rng.pick(&[100, 500, 100_000]),
        backlog: rng.pick(&[1, 2, 3, 8, 64]),
        ahead: rng.pick(&[1, 2, 8]),
        commit_every: ms(rng.pick(&[0, 5, 50])),
        in_process: ms(rng.pick(&[0, 0, 5, 1000])),
        probe: (ms(20), ms(100)),
        repair: (ms(5), ms(40)),
        shards: 2,
        seed: rng.next(),
        routes: (0..routes)
            .map(|_| Route {
                concurrency: 1 + rng.below(4) as u32,
                retry: RetryOptions::new()
                    .attempts(1 + rng.below(4) as u32)
                    .backoff(ms(rng.pick(&[0, 10])), ms(80))
                    .jitter(rng.pick(&[0, 20])),
                on_retry: if rng.chance(50) { OnRetry::Hold } else { OnRetry::Pass },
                timeout: if rng.chance(35) { Some(ms(rng.pick(&[15, 60]))) } else { None },
                batch: if rng.chance(30) {
                    Some(BatchOptions::new(1 + rng.below(5) as u32, ms(rng.pick(&[0, 5, 20]))))
                } else {
                    None
                },
            })
            .collect(),
    }
}

fn log(rng: &mut Rng, routes: u64) -> Log {
    let mut position = rng.below(50);
    let kept = (0..10 + rng.below(14)).map(|_| {
        position += 1 + if rng.chance(20) { rng.below(4) } else { 0 };
        let key = rng.below(5);
        let fate = rng.below(100);
        let meta = Meta {
            slot: Slot { index: 0, generation: 0 },
            position: Position::Offset(position),
            route: RouteId(rng.below(routes) as u16),
            lane: if key == 4 { None } else { Some((key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) },
            bytes: if rng.chance(4) { 700 } else { rng.below(50) as u32 },
            identity: rng.next(),
            attempts: 0,
            deliveries: 0,
            deaths: 0,
            due: None,
            dead: if fate < 5 { Some(DeadReason::Undecodable) } else { None },
            skip: fate >= 95,
        };
        let due = if rng.chance(4) { Some(Time(ms(rng.below(300)).as_nanos() as u64)) } else { None };
        Kept { position, meta, acked: false, out: None, attempts: 0, deaths: 0, deliveries: 0, after: Time(0), due }
    });
    Log { kept: kept.collect(), ..Log::default() }
}

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>, record: bool) -> Self {
        let mut rng = Rng::new(seed);
        let config = config(&mut rng);
        let routes = config.routes.len();
        let logs = (0..PARTS).map(|_| log(&mut rng, routes as u64)).collect();
        let tags = config.settle == SettleBy::Message && rng.chance(15);
        let mut world = Self {
            now: Time(1),
            engine: Engine::new(config.clone()),
            oracle: Oracle::new(config.clone(), PARTS),
            logs,
            bodies: Vec::new(),
            running: Vec::new(),
            ops: Vec::new(),
            paused: vec![false; routes],
            deliveries: 0,
            tags,
            draining: false,
            drained: false,
            stats: Stats::default(),
            inputs: 0,
            sabotage,
            record,
            trace: Vec::new(),
            config,
            rng,
        };
        if record {
            world.trace.push(format!("seed {seed}: {:#?}", world.config));
        }
        world
    }

    fn watermark(&self) -> bool {
        self.config.settle == SettleBy::Watermark
    }

    fn live(&mut self) -> Lived {
        for _ in 0..EVENTS {
            self.happen()?;
        }
        self.heal()
    }

    fn happen(&mut self) -> Lived {
        if self.drained {
            return self.restart(false);
        }
        match self.rng.below(1000) {
            0..230 => self.deliver(),
            230..450 => self.finish(),
            450..720 => self.answer(),
            720..830 => self.advance(),
            830..890 => self.assign(),
            890..905 => self.revoke(),
            905..918 => self.lose(),
            918..945 => self.renew(),
            945..953 => self.pause(true),
            953..963 => self.pause(false),
            963..969 => {
                self.stats.count("fault: resize");
                let (route, concurrency) = (self.route(), self.rng.below(4) as u32);
                self.feed(In::Resize { route, concurrency })
            }
            969..975 => {
                let route = self.route();
                self.feed(In::Ready { route })
            }
            975..981 => self.lease_lost(),
            981..983 => {
                self.stats.count("fault: drain");
                self.draining = true;
                let by = self.now.after(ms(self.rng.pick(&[0, 20, 100, 500])));
                self.feed(In::Drain { by })
            }
            983..984 => {
                self.stats.count("fault: abort");
                self.draining = true;
                self.feed(In::Abort)
            }
            984..987 => self.restart(true),
            987..993 => self.early_tick(),
            _ => self.outdated(),
        }
    }

    fn route(&mut self) -> RouteId {
        RouteId(self.rng.below(self.config.routes.len() as u64) as u16)
    }

    /// An input through the engine, and its outputs through the oracle to the driver.
    fn feed(&mut self, input: In<'_>) -> Lived {
        if !matches!(input, In::Tick) && self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
            self.feed(In::Tick)?;
        }
        self.inputs += 1;
        self.oracle.input(self.now, &input, &mut self.stats);
        let mut out = Vec::new();
        let halved;
        match (self.sabotage, input) {
            (Some(Sabotage::RevokeIgnored), In::Revoking { .. }) | (Some(Sabotage::DeadlineUnknown), In::Renewed { .. }) => {}
            (Some(Sabotage::DeadlineUnknown), In::Assigned { part, epoch, resume, .. }) => {
                self.engine.step(self.now, In::Assigned { part, epoch, until: None, resume }, &mut out);
            }
            (Some(Sabotage::DelayCutShort), In::Finished { slot, verdicts, returned }) => {
                let halve = |verdict: &Verdict| match *verdict {
                    Verdict::Failed { after: Some(after), reason } => Verdict::Failed { after: Some(after / 2), reason },
                    other => other,
                };
                halved = verdicts.iter().map(halve).collect::<Vec<_>>();
                self.engine.step(self.now, In::Finished { slot, verdicts: &halved, returned }, &mut out);
            }
            (_, input) => self.engine.step(self.now, input, &mut out),
        }
        self.tamper(&mut out);
        if self.record {
            self.trace.push(format!("{:>12} {input:?}", self.now.0));
            self.trace.extend(out.iter().map(|out| format!("{:>16}{out:?}", "")));
        }
        let engine = &self.engine;
        let past_gap = self.sabotage == Some(Sabotage::CommitPastGap);
        let commit = |part: u32| {
            let mut commit = engine.commit(PartId(part))?;
            if past_gap && let Some(range) = commit.progress.done.last() {
                commit.upto = range.1.next();
                commit.progress.done.clear();
            }
            Some(commit)
        };
        self.oracle.outputs(self.now, &out, &|slot| engine.batch(slot).to_vec(), &commit, &mut self.stats)?;
        let commits: Vec<_> = (0..PARTS as u32).map(commit).collect();
        for out in out {
            self.carry_out(out, &commits);
        }
        Ok(())
    }

    /// Plants the fault.
    fn tamper(&mut self, out: &mut Vec<Out>) {
        let Some(sabotage) = self.sabotage else { return };
        let watermark = self.watermark();
        let ack = |slot| Out::Settle { slot, settle: Settle::Ack };
        match sabotage {
            Sabotage::AckBeforeConfirmed if !watermark => {
                if let Some(&Out::PublishReturned { slot }) = out.iter().find(|out| matches!(out, Out::PublishReturned { .. })) {
                    out.push(ack(slot));
                }
            }
            Sabotage::SettleDropped => out.retain(|out| !matches!(out, Out::Settle { settle: Settle::Ack, .. })),
            Sabotage::DeadLetterDropped if !watermark => {
                for out in out {
                    if let Out::PublishDead { slot, .. } = *out {
                        *out = ack(slot);
                    }
                }
            }
            Sabotage::AttemptForgotten => {
                for out in out {
                    if let Out::Start { attempt, .. } = out
                        && *attempt > 1
                    {
                        *attempt -= 1;
                    }
                }
            }
            Sabotage::CreditInflated => {
                for out in out {
                    if let Out::Grant { messages, .. } = out {
                        *messages += 1000;
                    }
                }
            }
            Sabotage::CreditLeaked => out.retain(|out| !matches!(out, Out::Grant { .. })),
            Sabotage::LeaseNeverExtended => out.retain(|out| !matches!(out, Out::Settle { settle: Settle::Extend, .. })),
            Sabotage::FreedTwice => {
                if let Some(&free) = out.iter().find(|out| matches!(out, Out::Free { .. })) {
                    out.push(free);
                }
            }
            Sabotage::KeyReordered => {
                for out in out {
                    if let Out::Start { slot, route, attempt: 1, shard } = *out
                        && let Some(later) = self.later(slot)
                    {
                        *out = Out::Start { slot: later, route, attempt: 1, shard };
                    }
                }
            }
            Sabotage::KeyReleasedEarly => {
                for k in 0..out.len() {
                    if let Out::Note(Note::Retrying { slot, hold: true, .. }) = out[k]
                        && let Some(later) = self.later(slot)
                    {
                        let body = self.bodies[slot.index as usize];
                        let route = self.logs[body.part].kept[body.index].meta.route;
                        out.insert(k + 1, Out::Start { slot: later, route, attempt: 1, shard: 0 });
                        return;
                    }
                }
            }
            _ => {}
        }
    }

    /// A message that is held behind this one in its lane, and has not been tried.
    fn later(&self, slot: Slot) -> Option<Slot> {
        let first = self.bodies[slot.index as usize];
        let kept = &self.logs[first.part].kept[first.index];
        let route = kept.meta.route.0 as usize;
        if self.paused[route] || self.config.routes[route].batch.is_some() || kept.meta.lane.is_none() {
            return None;
        }
        let fits = |body: &Body| {
            let other = &self.logs[body.part].kept[body.index];
            body.live
                && (body.part, body.epoch) == (first.part, first.epoch)
                && other.meta.lane == kept.meta.lane
                && other.meta.route == kept.meta.route
                && body.index > first.index
                && other.meta.dead.is_none()
                && !other.meta.skip
                && other.due.is_none()
                && other.attempts == 0
        };
        let index = self.bodies.iter().position(fits)?;
        let later = Slot { index: index as u32, generation: self.bodies[index].generation };
        (self.engine.attempt(later) == 1 && !self.running.contains(&later)).then_some(later)
    }

    fn carry_out(&mut self, out: Out, commits: &[Option<Commit>]) {
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
            Out::Revoked { part, .. } => {
                let p = part.0 as usize;
                self.settle_some(Some(p));
                self.end(p, false);
            }
            Out::Swap { held, new } => self.bodies[held.index as usize].token = self.bodies[new.index as usize].token,
            Out::Free { slot, .. } => self.bodies[slot.index as usize].live = false,
            Out::Drained => self.drained = true,
            Out::Note(_) => {}
        }
    }

    /// What was on its way when its owner stopped listening may have arrived.
    fn settle_some(&mut self, only: Option<usize>) {
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

    /// The broker takes the partition back.
    fn end(&mut self, p: usize, unclean: bool) {
        let log = &mut self.logs[p];
        log.assigned = false;
        log.revoking = None;
        log.unclean |= unclean;
        for kept in &mut log.kept {
            kept.out = None;
        }
    }

    fn apply(&mut self, body: Body, settle: Settle) -> Answer {
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

    fn keep(&mut self, p: usize, epoch: u64, commit: Option<Commit>) -> Answer {
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

    fn answer(&mut self) -> Lived {
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

    fn answer_one(&mut self, k: usize, fault: bool) -> Lived {
        match self.ops.remove(k) {
            Op::Settle { slot, body, settle } => {
                let answer = if fault {
                    self.stats.count("fault: settlement without an answer");
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
                        self.stats.count("fault: publish refused");
                        Published::Refused
                    }
                    (true, false) => {
                        self.stats.count("fault: publish without an answer");
                        Published::Again
                    }
                };
                self.feed(In::Published { slot, result })
            }
            Op::Commit { part, epoch, commit } => {
                let answer = if fault {
                    self.stats.count("fault: commit without an answer");
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

    fn deliver(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        let most = 1 + self.rng.below(6) as usize;
        self.deliver_from(p, most).map(|_| ())
    }

    fn deliver_from(&mut self, p: usize, most: usize) -> Result<bool, Violation> {
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
                    self.stats.count("fault: redelivery");
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

    fn verdict(&mut self) -> Verdict {
        match self.rng.below(100) {
            0..58 => Verdict::Ack,
            58..62 => Verdict::Drop,
            62..82 => Verdict::Failed {
                after: if self.rng.chance(40) { Some(ms(self.rng.pick(&[0, 7, 50, 400]))) } else { None },
                reason: DeadReason::HandlerError,
            },
            82..86 => Verdict::Dead(DeadReason::HandlerError),
            86..93 => Verdict::Unavailable,
            _ => Verdict::NotTaken,
        }
    }

    fn finish(&mut self) -> Lived {
        if self.running.is_empty() {
            return Ok(());
        }
        let k = self.rng.below(self.running.len() as u64) as usize;
        let slot = self.running[k];
        // A timer may cancel it before it can say anything.
        if self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
            return self.feed(In::Tick);
        }
        self.running.swap_remove(k);
        let count = self.engine.batch(slot).len();
        let same = self.rng.chance(60);
        let first = self.verdict();
        let verdicts: Vec<_> = (0..count).map(|_| if same { first } else { self.verdict() }).collect();
        let returned = self.rng.chance(40);
        self.feed(In::Finished { slot, verdicts: &verdicts, returned })
    }

    fn advance(&mut self) -> Lived {
        let wake = self.engine.next_wake();
        let to = match self.rng.below(10) {
            0..5 => wake.unwrap_or(self.now),
            5..8 => self.now.after(ms(1 + self.rng.below(10))),
            8 => self.now.after(ms(self.rng.below(200))),
            _ => self.now.after(ms(self.rng.below(2000))),
        };
        self.now = self.now.max(to);
        self.take_back()?;
        if self.drained {
            return Ok(());
        }
        self.feed(In::Tick)
    }

    /// The broker takes back what was revoked, when the time is over.
    fn take_back(&mut self) -> Lived {
        for p in 0..PARTS {
            if self.logs[p].assigned && self.logs[p].revoking.is_some_and(|by| by.after(ms(5)) < self.now) {
                let epoch = Epoch(self.logs[p].epoch);
                self.feed(In::Tick)?;
                if self.logs[p].assigned {
                    self.end(p, false);
                    self.feed(In::Lost { part: PartId(p as u32), epoch })?;
                }
            }
        }
        Ok(())
    }

    fn assign(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        if self.logs[p].assigned {
            if !self.rng.chance(8) {
                return Ok(());
            }
            self.stats.count("fault: assigned without a loss");
            self.end(p, true);
        }
        let until = if self.rng.chance(40) { Some(self.now.after(ms(20 + self.rng.below(300)))) } else { None };
        self.assign_now(p, until)
    }

    fn assign_now(&mut self, p: usize, until: Option<Time>) -> Lived {
        let log = &mut self.logs[p];
        log.epoch += 1;
        log.assigned = true;
        log.revoking = None;
        log.credit = 0;
        log.bytes = 0;
        log.until = until;
        log.cursor = log.kept.iter().position(|kept| kept.position >= log.upto).unwrap_or(log.kept.len());
        log.begin = log.cursor;
        let mut resume = Resume::default();
        resume.unclean = std::mem::take(&mut log.unclean);
        resume.progress = log.progress.clone();
        if resume.unclean {
            self.stats.count("fault: unclean assignment");
        }
        let epoch = Epoch(self.logs[p].epoch);
        self.feed(In::Assigned { part: PartId(p as u32), epoch, until, resume: &resume })
    }

    fn revoke(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        if !self.logs[p].assigned || self.logs[p].revoking.is_some() {
            return Ok(());
        }
        self.stats.count("fault: revoked");
        let by = self.now.after(ms(self.rng.pick(&[0, 10, 60, 400])));
        self.logs[p].revoking = Some(by);
        self.feed(In::Revoking { part: PartId(p as u32), epoch: Epoch(self.logs[p].epoch), by })
    }

    fn lose(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        let epoch = Epoch(self.logs[p].epoch);
        if self.logs[p].assigned {
            self.stats.count("fault: lost");
            let unclean = self.rng.chance(50);
            self.end(p, unclean);
        }
        self.feed(In::Lost { part: PartId(p as u32), epoch })
    }

    fn renew(&mut self) -> Lived {
        let p = self.rng.below(PARTS as u64) as usize;
        if self.logs[p].until.is_none() || !self.logs[p].assigned {
            return Ok(());
        }
        let until = self.now.after(ms(20 + self.rng.below(300)));
        self.logs[p].until = Some(until);
        self.feed(In::Renewed { part: PartId(p as u32), epoch: Epoch(self.logs[p].epoch), until })
    }

    fn pause(&mut self, paused: bool) -> Lived {
        let route = self.route();
        self.paused[route.0 as usize] = paused;
        if paused {
            self.stats.count("fault: pause");
        }
        self.feed(if paused { In::Pause { route } } else { In::Resume { route } })
    }

    /// The broker thinks that a consumer is dead, and delivers again.
    fn lease_lost(&mut self) -> Lived {
        if self.config.lease.is_none() {
            return Ok(());
        }
        let p = self.rng.below(PARTS as u64) as usize;
        let held: Vec<_> = (0..self.logs[p].kept.len()).filter(|&k| self.logs[p].kept[k].out.is_some()).collect();
        if !held.is_empty() {
            self.stats.count("fault: lease lost");
            let k = self.rng.pick(&held);
            self.logs[p].kept[k].out = None;
        }
        Ok(())
    }

    /// A tick before its time changes nothing.
    fn early_tick(&mut self) -> Lived {
        let Some(wake) = self.engine.next_wake().filter(|&wake| wake > self.now) else { return Ok(()) };
        let between = Time(self.now.0 + self.rng.below(wake.0 - self.now.0));
        self.now = between;
        self.stats.count("early tick");
        let mut out = Vec::new();
        self.engine.step(between, In::Tick, &mut out);
        if !out.is_empty() || self.engine.next_wake() != Some(wake) {
            return Err(Violation { number: 17, what: format!("a tick at {between:?}, before {wake:?}, leads to {out:?}") });
        }
        Ok(())
    }

    /// Inputs that come too late.
    fn outdated(&mut self) -> Lived {
        let places: Vec<_> = (0..self.bodies.len()).filter(|&k| self.bodies[k].generation > 1).collect();
        if places.is_empty() {
            return Ok(());
        }
        self.stats.count("fault: outdated input");
        let k = self.rng.pick(&places);
        let slot = Slot { index: k as u32, generation: self.bodies[k].generation - 1 };
        let mut out = Vec::new();
        if self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
            return Ok(());
        }
        let input = match self.rng.below(4) {
            0 => In::Finished { slot, verdicts: &[Verdict::Ack], returned: true },
            1 => In::Published { slot, result: Published::Confirmed },
            2 => In::Committed { part: PartId(0), epoch: Epoch(0), answer: Answer::Applied },
            _ => In::Settled { slot, settle: Settle::Ack, answer: Answer::Applied },
        };
        self.engine.step(self.now, input, &mut out);
        if out.is_empty() { Ok(()) } else { Err(Violation { number: 1, what: format!("{input:?} leads to {out:?}") }) }
    }

    /// Another process takes over, after a crash or a drain.
    fn restart(&mut self, crash: bool) -> Lived {
        if crash {
            self.stats.count("fault: crash");
        }
        self.settle_some(None);
        for p in 0..PARTS {
            if self.logs[p].assigned {
                self.end(p, crash);
            }
        }
        self.ops.clear();
        self.running.clear();
        self.bodies.clear();
        self.paused.fill(false);
        self.draining = false;
        self.drained = false;
        self.engine = Engine::new(self.config.clone());
        self.oracle = Oracle::new(self.config.clone(), PARTS);
        if self.record {
            self.trace.push("---------- another process".to_owned());
        }
        Ok(())
    }

    fn finished(&self) -> bool {
        let done = |log: &Log| match self.config.settle {
            SettleBy::Watermark => log.kept.last().is_none_or(|kept| log.upto > kept.position),
            _ => log.kept.iter().all(|kept| kept.acked),
        };
        self.logs.iter().all(done) && self.engine.idle() && self.ops.is_empty() && self.running.is_empty()
    }

    /// Nothing goes wrong any more: everything has to come to its end.
    fn heal(&mut self) -> Lived {
        for _ in 0..5000 {
            if self.drained {
                self.restart(false)?;
            }
            self.take_back()?;
            if !self.draining && self.finished() {
                return Ok(());
            }
            if !self.heal_step()? {
                break;
            }
        }
        Err(Violation { number: 16, what: format!("stuck; next wake {:?}, {:?}", self.engine.next_wake(), self.oracle) })
    }

    fn heal_step(&mut self) -> Result<bool, Violation> {
        let far = self.now.after(Duration::from_secs(3600));
        for p in 0..PARTS {
            if !self.logs[p].assigned && !self.draining {
                self.assign_now(p, None)?;
            }
            if self.logs[p].assigned && self.logs[p].until.is_some_and(|until| until < self.now.after(Duration::from_secs(60))) {
                self.logs[p].until = Some(far);
                self.feed(In::Renewed { part: PartId(p as u32), epoch: Epoch(self.logs[p].epoch), until: far })?;
            }
        }
        for r in 0..self.paused.len() {
            if std::mem::take(&mut self.paused[r]) {
                self.feed(In::Resume { route: RouteId(r as u16) })?;
            }
        }
        if !self.ops.is_empty() {
            self.answer_one(0, false)?;
            return Ok(true);
        }
        if let Some(&slot) = self.running.first() {
            if self.engine.next_wake().is_some_and(|wake| wake <= self.now) {
                self.feed(In::Tick)?;
                return Ok(true);
            }
            self.running.remove(0);
            let verdicts = vec![Verdict::Ack; self.engine.batch(slot).len()];
            self.feed(In::Finished { slot, verdicts: &verdicts, returned: false })?;
            return Ok(true);
        }
        let mut delivered = false;
        for p in 0..PARTS {
            delivered |= !self.drained && self.deliver_from(p, 8)?;
        }
        if delivered {
            return Ok(true);
        }
        let mut next = self.engine.next_wake();
        for log in &self.logs {
            let after = log.kept.iter().filter(|kept| !kept.acked && kept.out.is_none() && kept.after > self.now);
            next = next.into_iter().chain(after.map(|kept| kept.after)).chain(log.revoking.map(|by| by.after(ms(6)))).min();
        }
        let Some(next) = next else { return Ok(false) };
        self.now = self.now.max(next);
        self.take_back()?;
        if !self.drained {
            self.feed(In::Tick)?;
        }
        Ok(true)
    }
}

//! A bench for one engine: short names for inputs, and all outputs of a step.

use std::time::Duration;

use convoke_core::broker::{Delay, Progress, Resume, Settle, SettleBy};
use convoke_core::{DeadReason, Epoch, OnRetry, PartId, Position, RetryOptions};
use convoke_engine::*;

pub const MS: u64 = 1_000_000;

pub struct Bench {
    pub engine: Engine,
    pub now: u64,
    next: u32,
}

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn at(n: u64) -> Time {
    Time(n * MS)
}

pub fn route() -> Route {
    Route {
        concurrency: 4,
        retry: RetryOptions::new().attempts(3).backoff(ms(100), ms(1000)).jitter(0),
        on_retry: OnRetry::Hold,
        timeout: None,
        batch: None,
    }
}

pub fn config() -> Config {
    Config {
        settle: SettleBy::Message,
        delay: Delay::InPlace,
        lease: None,
        marks: false,
        deaths: 3,
        messages: 64,
        bytes: 1 << 20,
        backlog: 32,
        ahead: 32,
        progress: None,
        commit_every: ms(200),
        in_process: ms(5000),
        probe: (ms(100), ms(1000)),
        repair: (ms(10), ms(80)),
        shards: 1,
        seed: 7,
        routes: vec![route()],
    }
}

pub fn watermark() -> Config {
    Config { settle: SettleBy::Watermark, ..config() }
}

pub const FAILED: Verdict = Verdict::Failed { after: None, reason: DeadReason::HandlerError };

pub fn meta(position: u64) -> Meta {
    Meta {
        slot: Slot { index: 0, generation: 0 },
        position: Position::Offset(position),
        route: RouteId(0),
        lane: Some(1),
        bytes: 10,
        identity: position,
        attempts: 0,
        deliveries: 1,
        deaths: 0,
        due: None,
        dead: None,
        skip: false,
    }
}

pub fn on(position: u64, lane: u64) -> Meta {
    Meta { lane: Some(lane), ..meta(position) }
}

pub fn free(position: u64) -> Meta {
    Meta { lane: None, ..meta(position) }
}

pub fn nack(delay: u64, attempts: u32, hold: bool) -> Settle {
    Settle::Nack { delay: ms(delay), attempts, hold }
}

impl Bench {
    pub fn new(config: Config) -> Self {
        Self { engine: Engine::new(config), now: 0, next: 0 }
    }

    /// With partition 0 assigned in epoch 1.
    pub fn assigned(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.assign(0, 1, None);
        bench
    }

    pub fn step(&mut self, input: In<'_>) -> Vec<Out> {
        let mut out = Vec::new();
        self.engine.step(Time(self.now), input, &mut out);
        out
    }

    pub fn assign(&mut self, part: u32, epoch: u64, until: Option<Time>) -> Vec<Out> {
        self.assign_with(part, epoch, until, false, Progress::default())
    }

    pub fn assign_with(&mut self, part: u32, epoch: u64, until: Option<Time>, unclean: bool, progress: Progress) -> Vec<Out> {
        let mut resume = Resume::default();
        resume.unclean = unclean;
        resume.progress = progress;
        self.step(In::Assigned { part: PartId(part), epoch: Epoch(epoch), until, resume: &resume })
    }

    /// Delivers to partition 0 of epoch 1; answers the slots too.
    pub fn deliver(&mut self, metas: &[Meta]) -> (Vec<Slot>, Vec<Out>) {
        self.deliver_to(0, 1, metas)
    }

    pub fn deliver_to(&mut self, part: u32, epoch: u64, metas: &[Meta]) -> (Vec<Slot>, Vec<Out>) {
        let mut metas = metas.to_vec();
        for meta in &mut metas {
            meta.slot = Slot { index: self.next, generation: 1 };
            self.next += 1;
        }
        let out = self.step(In::Delivered { part: PartId(part), epoch: Epoch(epoch), metas: &metas });
        (metas.iter().map(|meta| meta.slot).collect(), out)
    }

    pub fn finish(&mut self, slot: Slot, verdict: Verdict) -> Vec<Out> {
        self.step(In::Finished { slot, verdicts: &[verdict], returned: false })
    }

    pub fn finish_all(&mut self, slot: Slot, verdicts: &[Verdict], returned: bool) -> Vec<Out> {
        self.step(In::Finished { slot, verdicts, returned })
    }

    pub fn published(&mut self, slot: Slot, result: Published) -> Vec<Out> {
        self.step(In::Published { slot, result })
    }

    pub fn settled(&mut self, slot: Slot, settle: Settle, answer: Answer) -> Vec<Out> {
        self.step(In::Settled { slot, settle, answer })
    }

    pub fn acked(&mut self, slot: Slot) -> Vec<Out> {
        self.settled(slot, Settle::Ack, Answer::Applied)
    }

    pub fn committed(&mut self, answer: Answer) -> Vec<Out> {
        self.step(In::Committed { part: PartId(0), epoch: Epoch(1), answer })
    }

    /// Lets time pass to this millisecond, with a tick wherever the engine asks for one.
    pub fn tick_to(&mut self, to: u64) -> Vec<Out> {
        let mut out = Vec::new();
        while let Some(wake) = self.engine.next_wake()
            && wake.0 <= to * MS
        {
            self.now = self.now.max(wake.0);
            out.extend(self.step(In::Tick));
        }
        self.now = to * MS;
        out.extend(self.step(In::Tick));
        out
    }

    pub fn revoke(&mut self, part: u32, by: u64) -> Vec<Out> {
        self.step(In::Revoking { part: PartId(part), epoch: Epoch(1), by: at(by) })
    }

    pub fn lose(&mut self, part: u32) -> Vec<Out> {
        self.step(In::Lost { part: PartId(part), epoch: Epoch(1) })
    }

    /// Position and ranges of a commit of partition 0 now.
    #[allow(clippy::type_complexity, reason = "it is compared at once")]
    pub fn commit(&self) -> (u64, Vec<(u64, u64)>, Vec<(u64, u32, u32)>) {
        let number = |position: Position| match position {
            Position::Offset(n) => n,
            _ => u64::MAX,
        };
        let commit = self.engine.commit(Time(self.now), PartId(0)).expect("something was delivered");
        let done = commit.progress.done.iter().map(|range| (number(range.0), number(range.1))).collect();
        let marks = commit.progress.marks.iter().map(|mark| (number(mark.position), mark.attempts, mark.deaths)).collect();
        (number(commit.upto), done, marks)
    }
}

/// The slots that were started, with the number of the attempt.
pub fn starts(out: &[Out]) -> Vec<(Slot, u32)> {
    out.iter()
        .filter_map(|out| match *out {
            Out::Start { slot, attempt, .. } => Some((slot, attempt)),
            _ => None,
        })
        .collect()
}

pub fn started(out: &[Out]) -> Vec<Slot> {
    starts(out).into_iter().map(|start| start.0).collect()
}

pub fn freed(out: &[Out]) -> Vec<(Slot, End)> {
    out.iter()
        .filter_map(|out| match *out {
            Out::Free { slot, end } => Some((slot, end)),
            _ => None,
        })
        .collect()
}

pub fn settles(out: &[Out]) -> Vec<(Slot, Settle)> {
    out.iter()
        .filter_map(|out| match *out {
            Out::Settle { slot, settle } => Some((slot, settle)),
            _ => None,
        })
        .collect()
}

pub fn grants(out: &[Out]) -> u32 {
    out.iter()
        .map(|out| match *out {
            Out::Grant { messages, .. } => messages,
            _ => 0,
        })
        .sum()
}

//! A model of driver and broker around one engine after another.

use std::time::Duration;

use convoke_core::PartId;
use convoke_core::broker::SettleBy;
use convoke_engine::{Config, Engine, In, RouteId, Slot, Time, Verdict};

use crate::{Oracle, Reached, Rng, Sabotage, Stats, Violation};

mod broker;
mod config;
mod driver;
mod faults;
mod handlers;
mod heal;
mod partitions;
mod tamper;

use broker::Log;
use driver::{Body, Op};

const PARTS: usize = 3;
/// How many inputs there are before the world heals.
const EVENTS: u64 = 200;

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

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>, record: bool) -> Self {
        let mut rng = Rng::new(seed);
        let config = config::config(&mut rng);
        let routes = config.routes.len();
        let logs = (0..PARTS).map(|_| config::log(&mut rng, routes as u64)).collect();
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
        while self.inputs < EVENTS {
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
                self.stats.count(Reached::FaultResize);
                let (route, concurrency) = (self.route(), self.rng.below(4) as u32);
                self.feed(In::Resize { route, concurrency })
            }
            969..975 => {
                let route = self.route();
                self.feed(In::Ready { route })
            }
            975..981 => self.lease_lost(),
            981..983 => {
                self.stats.count(Reached::FaultDrain);
                self.draining = true;
                let by = self.now.after(ms(self.rng.pick(&[0, 20, 100, 500])));
                self.feed(In::Drain { by })
            }
            983..984 => {
                self.stats.count(Reached::FaultAbort);
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
}

//! A model of driver and broker around one engine after another.

use std::time::Duration;

use convoke_core::broker::SettleBy;
use convoke_engine::{Config, Engine, In, Out, RouteId, Slot, Time};

use crate::{Oracle, Reached, Rng, Sabotage, Stats, Violation};

mod broker;
mod config;
mod driver;
mod faults;
mod feed;
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
    /// Whether several inputs are taken in one step, and what they have led to.
    gathering: bool,
    gathered: Vec<Out>,
    stats: Stats,
    inputs: u64,
    sabotage: Option<Sabotage>,
    record: bool,
    trace: Vec<String>,
}

/// An engine of this configuration, unless a planted fault changes it.
fn engine(config: &Config, sabotage: Option<Sabotage>) -> Engine {
    let mut config = config.clone();
    config.progress.take_if(|_| sabotage == Some(Sabotage::RoomUnknown));
    Engine::new(config)
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
            engine: engine(&config, sabotage),
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
            gathering: false,
            gathered: Vec::new(),
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
            0..30 => self.several(),
            30..230 => self.deliver(),
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

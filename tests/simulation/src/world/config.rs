//! What a trace begins with: a configuration, and what lies at the broker.

use convoke_core::broker::{Delay, SettleBy};
use convoke_core::{BatchOptions, DeadReason, OnRetry, Position, RetryOptions};
use convoke_engine::{Config, Meta, Route, RouteId, Slot, Time};

use super::broker::{Kept, Log};
use super::ms;
use crate::Rng;

pub(super) fn config(rng: &mut Rng) -> Config {
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
        progress: if rng.chance(50) { Some(rng.pick(&[40, 70, 90, 110, 150])) } else { None },
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

pub(super) fn log(rng: &mut Rng, routes: u64) -> Log {
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
    let kept = kept.collect();
    Log { kept, waits: rng.chance(25), ..Log::default() }
}

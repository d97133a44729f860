//! The example's numbers come out exactly, whatever the concurrency, and whatever goes wrong on the way.

#[allow(dead_code, reason = "the example's own main is not called here")]
#[path = "../examples/quakes/main.rs"]
mod quakes;

use std::collections::BTreeMap;
use std::time::Duration;

use convoke::broker::Fault;
use convoke::prelude::*;
use indicatif::ProgressBar;
use quakes::Watch;

const HANDLERS: [&str; 4] = ["screen", "page", "digest", "bury"];

/// A small generator of seeded numbers (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn fault(seeded: &mut Seeded) -> Fault {
    let handler = HANDLERS[seeded.below(4) as usize];
    let group = format!("quakes.{handler}");
    let count = 1 + seeded.below(20) as u32;
    let topic = ["quakes.natural", "quakes.alerts", "quakes.reported"][seeded.below(3) as usize];
    match seeded.below(8) {
        0 => Fault::Cut { down: Duration::from_millis(seeded.below(500)) },
        1 => Fault::Revoke { group, topic: read_by(handler).into(), within: Some(Duration::from_secs(5)) },
        2 => Fault::Revoke { group, topic: read_by(handler).into(), within: None },
        3 => Fault::SettleLost { group, count },
        4 => Fault::Repeat { group, count },
        5 => Fault::PublishUnknown { topic: topic.into(), count, stored: seeded.below(2) == 0 },
        6 => Fault::PublishRejected { topic: topic.into(), count, retryable: true },
        _ => Fault::PublishSlow { topic: topic.into(), count, by: Duration::from_millis(seeded.below(100)) },
    }
}

fn read_by(handler: &str) -> &'static str {
    match handler {
        "screen" => "quakes.reported",
        "page" => "quakes.alerts",
        "digest" => "quakes.natural",
        _ => "quakes.reported.quakes.screen.dead",
    }
}

/// Runs the example, with `faults` faults spread over the run, and checks everything.
async fn check(seed: u64, concurrency: u32, faults: u64) {
    let story = format!("seed {seed}, concurrency {concurrency}, {faults} faults");
    let watch = Watch::new("test", ProgressBar::hidden());
    let app = TestApp::start(App::new("quakes").state(watch.clone()).only(HANDLERS)).await.unwrap();
    for handler in ["screen", "page", "digest"] {
        app.resize(handler, concurrency).unwrap();
    }
    let feed = quakes::feed::feed("test").unwrap();
    let mut seeded = Seeded(seed);
    let disturb = async {
        for _ in 0..faults {
            app.advance(Duration::from_millis(seeded.below(40))).await;
            app.inject(fault(&mut seeded)).unwrap();
        }
    };
    let (published, ()) = tokio::join!(quakes::feed::publish(&app, &feed), disturb);
    published.unwrap();
    let settled = tokio::time::timeout(Duration::from_secs(3600), app.settled()).await;
    if settled.is_err() {
        panic!("{story}: not settled after an hour of virtual time: {:#?}", app.status().await);
    }

    check_seen(&watch.seen(), &feed, &story);
    assert!(app.drain().await.clean, "{story}");
}

fn check_seen(seen: &quakes::Seen, feed: &[quakes::QuakeReported], story: &str) {
    assert_eq!((seen.reported.len(), seen.digested.len(), seen.paged.len()), (1707, 1679, 85), "{story}");
    assert_eq!(seen.out_of_order, 0, "{story}");
    assert!(seen.pager_failures > 0, "{story}: the pager never failed");
    let mut counts = BTreeMap::new();
    for quake in feed.iter().filter(|quake| quake.kind == "earthquake") {
        *counts.entry(quake.net.clone()).or_insert(0) += 1;
    }
    assert_eq!(
        seen.networks.iter().map(|(net, digest)| (net.clone(), digest.count)).collect::<BTreeMap<_, _>>(),
        counts,
        "{story}"
    );
    let cut_short = quakes::feed::cut_short(&feed[feed.len() / 2]).unwrap();
    let letter = seen.dead.as_ref().expect("the report that was cut short is a dead letter");
    assert_eq!(letter.payload(), cut_short.payload(), "{story}");
    assert_eq!(letter.headers().get_str("convoke-dead-reason"), Some("undecodable"), "{story}");
}

#[tokio::test(start_paused = true)]
async fn the_numbers_come_out_at_any_concurrency() {
    for concurrency in [1, 64] {
        check(0, concurrency, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_numbers_come_out_under_cuts_revocations_lost_settlements_and_repeats() {
    // More of them by `CONVOKE_SEEDS=200`.
    let seeds = std::env::var("CONVOKE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(8);
    for seed in 1..=seeds {
        check(seed, if seed % 2 == 0 { 1 } else { 64 }, 30).await;
    }
}

#[test]
fn the_command_prints_the_numbers_and_no_progress_bar_where_there_is_no_terminal() {
    let mut run = std::process::Command::new(env!("CARGO"));
    // As `cargo test` has built it already.
    run.args(["build", "--quiet", "--example", "quakes"]);
    assert!(run.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    let example = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("debug/examples/quakes");
    for concurrency in ["1", "64"] {
        let mut command = std::process::Command::new(&example);
        command.args(["--concurrency", concurrency]);
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("CONVOKE_BROKER").output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{stdout}{stderr}");
        assert!(stdout.contains("1707 reports, 1679 earthquakes, 85 alerts; 0 out of order"), "{stdout}{stderr}");
        assert!(stdout.contains("convoke-dead-reason: undecodable"), "{stdout}{stderr}");
        assert!(!stderr.contains('\u{1b}') && !stdout.contains('\u{1b}'), "{stderr}");
    }
}

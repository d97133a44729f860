//! The alarm digest service, and a scenario to see it work.
//!
//! `cargo run -p alarm-digest` runs both on the embedded broker. `CONVOKE_BROKER` names another; then any number of replicas run with
//! `--role serve`, and one process with `--role play` plays the agents and the notification service.

#![allow(clippy::print_stdout, reason = "the table at the end is what is run for")]

use std::time::{Duration, Instant};

use alarm_digest::scenario::{Ledger, Scenario, Verdict};
use alarm_digest::{Desk, remind, store};
use clap::{Parser, ValueEnum};
use convoke::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};

/// Tells users in digests what is new about their alarms.
#[derive(Debug, Parser)]
struct Options {
    /// What this process is.
    #[arg(long, value_enum, default_value_t = Role::All)]
    role: Role,
    /// Where the state is kept: the path of an SQLite file, or a URL of PostgreSQL (with the cargo feature `postgres`).
    #[arg(long, env = "ALARM_DIGEST_STORE", default_value = "alarm-digest.db")]
    store: String,
    /// How many seconds news wait for somebody to ask for them.
    #[arg(long, default_value_t = 30.0)]
    wait: f64,
    /// Critical alarms do not wait.
    #[arg(long)]
    hurry: bool,
    /// Users in the scenario.
    #[arg(long, default_value_t = 50)]
    users: usize,
    /// Alarms of each.
    #[arg(long, default_value_t = 20)]
    alarms: usize,
    /// Another seed is another scenario.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// The service, the agents and the notification service in one process; ends when everything is told.
    All,
    /// The service; runs until it is stopped.
    Serve,
    /// The agents and the notification service; ends when everything is told.
    Play,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let options = Options::parse();
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    let wait = Duration::try_from_secs_f64(options.wait).map_err(|_| "--wait is a number of seconds")?;
    // ANCHOR: app
    let ledger = Ledger::default();
    let mut app = App::new("alarm-digest").from_env()?.state(ledger.clone());
    let mut desk = None;
    if options.role == Role::Play {
        app = app.only(["enter"]);
    } else {
        let new = Desk::new(store::open(&options.store).await?).hurry(options.hurry);
        app = app.state(new.clone());
        desk = Some(new);
    }
    if options.role == Role::Serve {
        app = app.only(["note_change", "send_digest"]);
    }
    let app = app.start().await?;
    if let Some(desk) = desk {
        tokio::spawn(remind(app.publisher().clone(), desk, wait));
    }
    if options.role != Role::Serve {
        play(&app, &ledger, &options).await?;
        app.drain().await;
        return Ok(());
    }
    Ok(app.run().await?) // until SIGINT or SIGTERM, then drains
    // ANCHOR_END: app
}

/// Plays the scenario, waits until all is told, and prints what came out.
async fn play(app: &AppHandle, ledger: &Ledger, options: &Options) -> Result<(), BoxError> {
    let run = format!("{:?} {}", std::time::SystemTime::now(), std::process::id());
    let scenario = Scenario::new(&run, options.seed, options.users, options.alarms);
    let active = scenario.active().len();
    let style = ProgressStyle::with_template("{msg:12} {bar:40.cyan} {pos}/{len}  {elapsed}")?;
    let bar = ProgressBar::new(scenario.changes.len() as u64).with_style(style.clone()).with_message("changes");
    let begun = Instant::now();
    scenario.play(app.publisher(), options.seed, |count| bar.inc(count as u64)).await?;
    bar.finish();

    let bar = ProgressBar::new(active as u64).with_style(style).with_message("alarms told");
    let limit = Instant::now() + Duration::from_secs(300);
    loop {
        // Requests and changes are topics of their own: a request may be handled before the last change, so it is repeated.
        scenario.ask(app.publisher(), &scenario.users).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let verdict = ledger.judge(&scenario);
        bar.set_position((active - verdict.lost) as u64);
        if verdict.lost == 0 || Instant::now() > limit {
            bar.finish();
            print(&scenario, active, &verdict, begun.elapsed());
            return if verdict.lost == 0 { Ok(()) } else { Err("not every active alarm was told within five minutes".into()) };
        }
    }
}

fn print(scenario: &Scenario, active: usize, verdict: &Verdict, took: Duration) {
    let Verdict { digests, told, lost, repeated, disordered, .. } = verdict;
    let rows = [
        ("users", scenario.users.len()),
        ("changes published", scenario.changes.len()),
        ("alarms active at the end", active),
        ("digests", *digests),
        ("alarms told", *told),
        ("lost", *lost),
        ("told again without news", *repeated),
        ("out of order", *disordered),
    ];
    for (what, count) in rows {
        println!("{what:<26}{count:>8}");
    }
    println!("{:<26}{:>8.1} s", "took", took.as_secs_f64());
}

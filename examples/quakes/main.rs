//! A week of earthquakes, handled event by event.
//!
//! Run with `cargo run --example quakes`. The broker is that of `CONVOKE_BROKER`, by default the embedded one.
//! Arguments: `--role all|publish|handle` for several processes, `--run ID` to keep runs apart, `--concurrency N`.

pub(crate) mod feed;
mod report;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoke::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

/// A seismic network has reported a quake, an explosion or a quarry blast.
#[event(topic = "quakes.reported", key = net)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QuakeReported {
    run: String,
    id: String,
    pub(crate) net: String,
    pub(crate) kind: String,
    time: i64,
    mag: Option<f64>,
    place: String,
}

/// An earthquake: what is left when the man-made ones are taken out.
#[event(topic = "quakes.natural", key = self.0.net)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Earthquake(QuakeReported);

/// Somebody should know about this one.
#[event(topic = "quakes.alerts", key = self.0.net)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QuakeAlert(QuakeReported);

/// Passes earthquakes on, and raises an alert from magnitude 4.5. What it returns is confirmed before the report is acknowledged.
#[handler(concurrency = 64)]
async fn screen(quake: QuakeReported, State(watch): State<Watch>) -> (Option<Earthquake>, Option<QuakeAlert>) {
    if quake.run != watch.run || !watch.counts(&quake) {
        return (None, None);
    }
    let alert = quake.mag.is_some_and(|mag| mag >= 4.5).then(|| QuakeAlert(quake.clone()));
    (Some(Earthquake(quake)), alert)
}

/// Pages somebody. The pager network fails now and then: the alert is tried again, and later ones of its network wait for it.
#[handler(concurrency = 64, retry(attempts = 20, backoff = "5ms..50ms"))]
async fn page(QuakeAlert(quake): QuakeAlert, meta: Meta<'_>, State(watch): State<Watch>) -> Result<(), &'static str> {
    let mut seen = watch.seen();
    if quake.run == watch.run && pager_fails(&quake.id, meta.attempt()) {
        seen.pager_failures += 1;
        return Err("the pager network is down");
    }
    if quake.run == watch.run && seen.paged.insert(quake.id) {
        let last = seen.last_page.insert(quake.net, quake.time);
        seen.out_of_order += u32::from(last.is_some_and(|last| last > quake.time));
    }
    Ok(())
}

/// Keeps a digest for each network, a batch at a time. Times within a network only ever rise, because they are in order by key.
#[handler(concurrency = 4, batch(size = 50, wait = "10ms"))]
async fn digest(quakes: Batch<Earthquake>, State(watch): State<Watch>) {
    let mut seen = watch.seen();
    for Earthquake(quake) in quakes.into_iter().filter(|quake| quake.0.run == watch.run) {
        if !seen.digested.insert(quake.id) {
            continue; // Delivery is at least once: a repeated one changes nothing.
        }
        let network = seen.networks.entry(quake.net).or_default();
        let fell = quake.time < network.last_time;
        network.count += 1;
        network.strongest = network.strongest.max(quake.mag.unwrap_or(f64::MIN));
        (network.last_time, network.last_place) = (quake.time.max(network.last_time), quake.place);
        seen.out_of_order += u32::from(fell);
    }
}

/// Reads what `screen` could not: whole messages, whatever is in them.
#[handler(topic = "quakes.reported.quakes.screen.dead")]
async fn bury(letter: Message, State(watch): State<Watch>) {
    if letter.headers().get_str("run") == Some(&watch.run) {
        watch.seen().dead = Some(letter);
    }
}

/// What the handlers share: the run that they belong to, and what they have seen of it.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    run: String,
    bar: ProgressBar,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) reported: HashSet<String>,
    pub(crate) paged: HashSet<String>,
    pub(crate) digested: HashSet<String>,
    pub(crate) networks: BTreeMap<String, Network>,
    pub(crate) pager_failures: u32,
    pub(crate) out_of_order: u32,
    pub(crate) dead: Option<Message>,
    last_page: BTreeMap<String, i64>,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) count: u32,
    strongest: f64,
    last_time: i64,
    last_place: String,
}

impl Watch {
    pub(crate) fn new(run: &str, bar: ProgressBar) -> Self {
        Self { run: run.to_owned(), bar, seen: Arc::default() }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a report, and says whether it is of an earthquake.
    fn counts(&self, quake: &QuakeReported) -> bool {
        let mut seen = self.seen();
        seen.reported.insert(quake.id.clone());
        self.bar.set_position(seen.reported.len() as u64);
        quake.kind == "earthquake"
    }
}

/// About every third time, depending on the alert and the attempt alone.
fn pager_fails(id: &str, attempt: u32) -> bool {
    let hash =
        id.bytes().fold(attempt.wrapping_mul(0x9e37_79b9), |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 16).is_multiple_of(3)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1)).cloned();
    let role = option("--role").unwrap_or_else(|| "all".to_owned());
    let run = option("--run").unwrap_or_else(|| std::process::id().to_string());

    let quakes = feed::feed(&run)?;
    let style = ProgressStyle::with_template("{bar:40.cyan} {pos}/{len} reports  {elapsed}")?;
    let watch = Watch::new(&run, ProgressBar::new(quakes.len() as u64).with_style(style));
    let app = App::new("quakes").state(watch.clone()).from_env()?.start().await?;
    if let Some(concurrency) = option("--concurrency") {
        ["screen", "page", "digest"].iter().try_for_each(|handler| app.resize(handler, concurrency.parse().unwrap_or(1)))?;
    }
    if role != "handle" {
        feed::publish(&app, &quakes).await?;
    }
    if role != "publish" {
        app.settled().await;
    }
    watch.bar.finish_and_clear();
    let handlers = app.status().await.handlers;
    let drained = app.drain().await;
    report::print(&watch.seen(), &handlers);
    if drained.clean { Ok(()) } else { Err(format!("the drain was not clean: {drained:?}").into()) }
}

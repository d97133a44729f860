//! A week of earthquakes, handled event by event.
//!
//! Run with `cargo run --example quakes`. The broker is that of `CONVOKE_BROKER`, by default the embedded one.
//! Arguments: `--role all|publish|handle` for several processes, `--run ID` to keep runs apart, `--concurrency N`.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoke::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

/// A seismic network has reported a quake, an explosion or a quarry blast.
#[event(topic = "quakes.reported", key = net)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QuakeReported {
    pub(crate) run: String,
    pub(crate) id: String,
    pub(crate) net: String,
    pub(crate) kind: String,
    pub(crate) time: i64,
    pub(crate) mag: Option<f64>,
    pub(crate) place: String,
}

/// An earthquake: what is left when the man-made ones are taken out.
#[event(topic = "quakes.natural", key = self.0.net)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Earthquake(pub(crate) QuakeReported);

/// Somebody should know about this one: magnitude 4.5 and above.
#[event(topic = "quakes.alerts", key = self.0.net)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QuakeAlert(pub(crate) QuakeReported);

/// Passes earthquakes on, and raises an alert for strong ones. What it returns is published before the report is acknowledged.
#[handler(concurrency = 64)]
async fn screen(quake: QuakeReported, State(watch): State<Watch>) -> (Option<Earthquake>, Option<QuakeAlert>) {
    if quake.run != watch.run {
        return (None, None);
    }
    watch.report(&quake.id);
    if quake.kind != "earthquake" {
        return (None, None);
    }
    let alert = quake.mag.is_some_and(|mag| mag >= 4.5).then(|| QuakeAlert(quake.clone()));
    (Some(Earthquake(quake)), alert)
}

/// Pages somebody. The pager network fails now and then; the alert is then tried again, and later ones of its network wait.
#[handler(concurrency = 64, retry(attempts = 20, backoff = "5ms..50ms"))]
async fn page(alert: QuakeAlert, meta: Meta<'_>, State(watch): State<Watch>) -> Result<(), PagerDown> {
    if alert.0.run != watch.run {
        return Ok(());
    }
    watch.call_pager(&alert.0.id, meta.attempt())?;
    let mut seen = watch.seen();
    if seen.paged.insert(alert.0.id.clone()) {
        let last = seen.last_page.insert(alert.0.net.clone(), alert.0.time);
        seen.out_of_order += u32::from(last.is_some_and(|last| last > alert.0.time));
    }
    Ok(())
}

/// Keeps a digest for each network, a batch at a time. Times within a network only ever rise: its key is handled in order.
#[handler(concurrency = 4, batch(size = 50, wait = "10ms"))]
async fn digest(quakes: Batch<Earthquake>, State(watch): State<Watch>) {
    let mut seen = watch.seen();
    for Earthquake(quake) in quakes.into_iter().filter(|quake| quake.0.run == watch.run) {
        if !seen.digested.insert(quake.id.clone()) {
            continue; // At least once: a repeated delivery changes nothing.
        }
        let network = seen.networks.entry(quake.net).or_default();
        let fell = quake.time < network.last_time;
        network.count += 1;
        network.strongest = network.strongest.max(quake.mag.unwrap_or(f64::MIN));
        network.last_time = network.last_time.max(quake.time);
        network.last_place = quake.place;
        seen.out_of_order += u32::from(fell);
    }
}

/// Reads what `screen` could not: whole messages, whatever they are.
#[handler(topic = "quakes.reported.quakes.screen.dead")]
async fn bury(letter: Message, State(watch): State<Watch>) {
    if letter.headers().get_str("run") == Some(&watch.run) {
        watch.seen().dead = Some(letter);
    }
}

#[derive(Debug)]
struct PagerDown;
impl std::fmt::Display for PagerDown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the pager network is down")
    }
}
impl std::error::Error for PagerDown {}

/// What the handlers share: the run that they belong to, and what they have seen of it.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) run: String,
    bar: ProgressBar,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) reported: HashSet<String>,
    pub(crate) paged: HashSet<String>,
    pub(crate) digested: HashSet<String>,
    pub(crate) pager_failures: u32,
    pub(crate) out_of_order: u32,
    pub(crate) dead: Option<Message>,
    pub(crate) networks: BTreeMap<String, Network>,
    last_page: BTreeMap<String, i64>,
}

#[derive(Default)]
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

    fn report(&self, id: &str) {
        let mut seen = self.seen();
        seen.reported.insert(id.to_owned());
        self.bar.set_position(seen.reported.len() as u64);
    }

    /// Fails about every third time, depending on the alert and the attempt alone.
    fn call_pager(&self, id: &str, attempt: u32) -> Result<(), PagerDown> {
        let hash =
            id.bytes().fold(attempt.wrapping_mul(0x9e37_79b9), |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let fails = (hash >> 16) % 3 == 0;
        self.seen().pager_failures += u32::from(fails);
        if fails { Err(PagerDown) } else { Ok(()) }
    }
}

/// The feed, oldest first.
pub(crate) fn quakes(run: &str) -> Result<Vec<QuakeReported>, BoxError> {
    let feed: serde_json::Value = serde_json::from_str(include_str!("data/usgs-all-week.geojson"))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let read = |feature: &serde_json::Value| {
        let properties = &feature["properties"];
        let [net, kind, place] = ["net", "type", "place"].map(|name| text(&properties[name]));
        let (time, mag) = (properties["time"].as_i64().unwrap_or_default(), properties["mag"].as_f64());
        QuakeReported { run: run.to_owned(), id: text(&feature["id"]), net, kind, time, mag, place }
    };
    let mut quakes: Vec<_> = feed["features"].as_array().ok_or("the feed has no features")?.iter().map(read).collect();
    quakes.sort_by_key(|quake| quake.time);
    Ok(quakes)
}

/// Publishes the feed, and in the middle of it a report that was cut short on the way.
pub(crate) async fn publish(app: &AppHandle, quakes: &[QuakeReported]) -> Result<(), BoxError> {
    for (i, some) in quakes.chunks(200).enumerate() {
        if i == 4 {
            let whole = serde_json::to_string(&some[0])?;
            let cut = Message::builder("quakes.reported").key(some[0].net.clone()).header("run", some[0].run.clone());
            app.publisher().publish_message(cut.payload(truncated(&whole)).build()).await?;
        }
        for receipt in app.publisher().publish_all(some).await {
            receipt?;
        }
    }
    Ok(())
}

pub(crate) fn truncated(report: &str) -> String {
    report[..report.len() / 2].to_owned()
}

pub(crate) fn app(watch: Watch) -> App {
    App::new("quakes").state(watch)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let role = option("--role").unwrap_or_else(|| "all".to_owned());
    let run = option("--run").unwrap_or_else(|| std::process::id().to_string());
    let quakes = quakes(&run)?;

    let style = ProgressStyle::with_template("{bar:40.cyan} {pos}/{len} reports  {elapsed}")?;
    let watch = Watch::new(&run, ProgressBar::new(quakes.len() as u64).with_style(style));
    let app = app(watch.clone()).from_env()?.start().await?;
    if let Some(concurrency) = option("--concurrency") {
        ["screen", "page", "digest"].iter().try_for_each(|handler| app.resize(handler, concurrency.parse().unwrap_or(1)))?;
    }
    if role != "handle" {
        publish(&app, &quakes).await?;
    }
    if role != "publish" {
        app.settled().await;
    }
    watch.bar.finish_and_clear();
    let handlers = app.status().await.handlers;
    let drained = app.drain().await;
    report(&watch.seen(), &handlers);
    if drained.clean { Ok(()) } else { Err(format!("the drain was not clean: {drained:?}").into()) }
}

fn report(seen: &Seen, handlers: &[convoke::HandlerStatus]) {
    println!("network  quakes  strongest  last");
    for (name, network) in &seen.networks {
        println!("{name:7}  {:6}  {:9.1}  {}", network.count, network.strongest, network.last_place);
    }
    println!("\nhandler  handled  failed attempts  dead letters");
    for one in handlers {
        println!("{:7}  {:7}  {:15}  {:12}", one.handler, one.handled, one.failed, one.dead);
    }
    let [reports, natural, alerts] = [seen.reported.len(), seen.digested.len(), seen.paged.len()];
    println!("\n{reports} reports, {natural} earthquakes, {alerts} alerts; {} out of order", seen.out_of_order);
    if let Some(letter) = &seen.dead {
        println!("\none report was cut short; its {} bytes are a dead letter:", letter.payload().len());
        letter.headers().iter().for_each(|(name, value)| println!("  {name}: {}", String::from_utf8_lossy(value)));
    }
}

//! Processes of one group that share the work, and are killed (`kill -9`), frozen (`SIGSTOP`) and ended: what they did is counted
//! from the topic of results, not from anybody's memory.
//!
//! This program is both: with `WORKER` in its environment it is one of the processes.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use convoke::prelude::*;
use convoke_core::broker::{BrokerConfig, BrokerUrl, EnsureMode, PublishOutcome, TopicSpec, Topology};
use convoke_core::{Message, Outgoing, Topic};
use convoke_redis::client::{AsyncConnectionConfig, Client, cmd};
use convoke_servers::{Kind, Server};
use serde::{Deserialize, Serialize};

type Failed = Box<dyn std::error::Error + Send + Sync>;

const JOBS: u64 = 2000;
const KEYS: u64 = 50;
/// What may be done twice: what ran, and what was done and not settled yet. A busy machine settles later.
const IN_FLIGHT: usize = 8 * 8;

/// Something to do.
#[event(topic = "jobs", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Job {
    key: u64,
    number: u64,
}

/// It was done.
#[event(topic = "done", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Done {
    key: u64,
    number: u64,
    by: u32,
}

#[handler(group = "workers", concurrency = 8)]
async fn work(job: Job) -> Done {
    tokio::time::sleep(Duration::from_millis(job.number % 20)).await;
    Done { key: job.key, number: job.number, by: std::process::id() }
}

/// A process that works, and dies with us.
struct Worker(Child);

impl Worker {
    fn start(url: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.env("WORKER", url).stdout(Stdio::null());
        Self(command.spawn().expect("a process"))
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.0.id().to_string()]).status().expect("kill");
        assert!(status.success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All results, in the order of each partition.
async fn done(url: &str) -> Result<Vec<Done>, Failed> {
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
    let mut connection = Client::open(url)?.get_multiplexed_async_connection_with_config(&patient).await?;
    let mut all = Vec::new();
    for partition in 0..8 {
        let mut range = cmd("XRANGE");
        range.arg(format!("{{done}}:{partition}")).arg("-").arg("+");
        let entries: Vec<(String, Vec<Vec<u8>>)> = range.query_async(&mut connection).await?;
        for (_, fields) in entries {
            let data = fields.chunks(2).find(|field| field[0] == b"data").ok_or("an entry without data")?;
            all.push(serde_json::from_slice(&data[1])?);
        }
    }
    Ok(all)
}

async fn until(url: &str, what: &str, holds: impl Fn(&[Done]) -> bool) -> Result<Vec<Done>, Failed> {
    let begun = Instant::now();
    loop {
        let all = done(url).await;
        if let Ok(all) = &all
            && holds(all)
        {
            return Ok(all.clone());
        }
        if begun.elapsed() > Duration::from_secs(120) {
            return Err(format!("waited for in vain: {what}; {:?} results", all.map(|all| all.len())).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn distinct(all: &[Done]) -> usize {
    all.iter().map(|done| done.number).collect::<BTreeSet<_>>().len()
}

fn workers(all: &[Done]) -> usize {
    all.iter().map(|done| done.by).collect::<BTreeSet<_>>().len()
}

/// Everything was done; what was done twice is no more than `most`; and each key was done for the first time in order.
#[allow(clippy::print_stdout, reason = "whoever runs it wants to see how much was repeated")]
fn check(name: &str, all: &[Done], most: usize) {
    let repeated = all.len() - distinct(all);
    println!("{name}: {} results of {} processes, {repeated} of them repeated", all.len(), workers(all));
    assert_eq!(distinct(all), JOBS as usize, "{name}: something was lost");
    assert!(repeated <= most, "{name}: {repeated} were done again, and {most} may be");
    let mut firsts: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for done in all.iter().filter(|done| seen.insert(done.number)) {
        firsts.entry(done.key).or_default().push(done.number);
    }
    for (key, numbers) in firsts {
        assert!(numbers.is_sorted(), "{name}: key {key} is out of order: {numbers:?}");
    }
}

/// A server with nothing on it but the jobs, and its URL.
async fn with_jobs() -> Result<(Server, String), Failed> {
    let server = Server::launch(Kind::Redis).await.map_err(|stop| stop.to_string())?;
    let url = server.url().to_owned();
    let broker = convoke_redis::open(BrokerConfig::new(BrokerUrl::parse(&url)?, "publisher")).await?;
    let mut topology = Topology::default();
    topology.topics.extend(["jobs", "done"].map(|topic| TopicSpec::new(Topic::from(topic))));
    broker.ensure(&topology, EnsureMode::Create).await?;
    let job = |number: u64| {
        let (key, payload) = (number % KEYS, format!(r#"{{"key":{},"number":{number}}}"#, number % KEYS));
        Outgoing::new(Message::builder("jobs").key(key.to_string()).payload(payload).build())
    };
    let outcomes = broker.publish((0..JOBS).map(job).collect()).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, PublishOutcome::Confirmed(_))));
    Ok((server, url))
}

fn everything(all: &[Done]) -> bool {
    distinct(all) == JOBS as usize
}

async fn killed() -> Result<(), Failed> {
    let (_server, url) = with_jobs().await?;
    let (first, _second) = (Worker::start(&url), Worker::start(&url));
    until(&url, "both work", |all| all.len() >= 400 && workers(all) == 2).await?;
    drop(first);
    until(&url, "one goes on", |all| all.len() >= 800).await?;
    let _third = Worker::start(&url);
    let all = until(&url, "everything is done", everything).await?;
    check("one of two was killed, a third came", &all, IN_FLIGHT);
    Ok(())
}

async fn frozen() -> Result<(), Failed> {
    let (_server, url) = with_jobs().await?;
    let (first, _second) = (Worker::start(&url), Worker::start(&url));
    until(&url, "both work", |all| all.len() >= 400 && workers(all) == 2).await?;
    first.signal("STOP");
    tokio::time::sleep(Duration::from_secs(6)).await;
    first.signal("CONT");
    let all = until(&url, "everything is done", everything).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    check("one of two was frozen for three leases", &all, IN_FLIGHT);
    Ok(())
}

async fn ended() -> Result<(), Failed> {
    let (_server, url) = with_jobs().await?;
    let (first, _second) = (Worker::start(&url), Worker::start(&url));
    until(&url, "both work", |all| all.len() >= 400 && workers(all) == 2).await?;
    first.signal("TERM");
    let all = until(&url, "everything is done", everything).await?;
    check("one of two was told to stop", &all, 0);
    Ok(())
}

async fn server_killed() -> Result<(), Failed> {
    let (server, url) = with_jobs().await?;
    let _workers = [Worker::start(&url), Worker::start(&url)];
    until(&url, "both work", |all| all.len() >= 400 && workers(all) == 2).await?;
    server.restart().await.map_err(|stop| stop.to_string())?;
    let all = until(&url, "everything is done", everything).await?;
    // What was settled in the last moments before the death may not be on the disk, as nothing else of that time.
    check("the server was killed and came back", &all, JOBS as usize / 4);
    Ok(())
}

fn main() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let Ok(url) = std::env::var("WORKER") {
        let app = App::new("processes").url(format!("{url}?lease=2s")).quiet();
        return Ok(runtime.block_on(app.run())?);
    }
    runtime.block_on(async {
        ended().await?;
        killed().await?;
        frozen().await?;
        server_killed().await
    })
}

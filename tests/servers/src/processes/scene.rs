//! A server, processes, and what they are fed with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_core::broker::{Broker, BrokerConfig, BrokerUrl, EnsureMode, PublishOutcome, TopicSpec, Topology};
use convoke_core::{Outgoing, encode};

use super::Processes;
use super::log::{Line, lines};
use super::worker::{DONE, Number, WORK, Worker};
use crate::Server;

const KEYS: u64 = 40;

/// How long is waited for what comes by itself.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Scene {
    broker: Arc<dyn Broker>,
    server: Server,
    log: PathBuf,
    url: String,
    workers: u32,
    pub(super) sent: u64,
}

impl Scene {
    pub(super) async fn new(of: &Processes, name: &str) -> Self {
        let server = Server::launch(of.kind).await.unwrap_or_else(|stop| panic!("{stop}"));
        // It may have to listen from the beginning.
        server.client().await.unwrap_or_else(|stop| panic!("{stop}"));
        let between = if server.url().contains('?') { '&' } else { '?' };
        let url = format!("{}{between}{}", server.url(), of.options.join("&"));
        let log = std::env::temp_dir().join(format!("convoke-processes-{}-{name}-{}", of.kind, std::process::id()));
        File::create(&log).expect("a log");
        let config = BrokerConfig::new(BrokerUrl::parse(&url).expect("a URL"), "source");
        let broker = (of.open)(config).await.expect("a connection");
        let mut topology = Topology::default();
        topology.topics.extend([WORK, DONE].map(TopicSpec::new));
        topology.groups.push(convoke_core::broker::GroupSpec::new("workers", vec![WORK.into()]));
        broker.ensure(&topology, EnsureMode::Create).await.expect("topics");
        Self { broker, server, log, url, workers: 0, sent: 0 }
    }

    /// Another process. They are called by their numbers.
    pub(super) fn worker(&mut self) -> Worker {
        self.workers += 1;
        Worker::start(self.workers.to_string(), &self.url, &self.log)
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        lines(&self.log)
    }

    /// Whether each of these has begun so many messages since there were `mark` lines.
    pub(super) fn work_since(&self, mark: usize, workers: [&Worker; 2], calls: usize) -> bool {
        let lines = self.lines();
        let begun = |worker: &Worker| lines[mark..].iter().filter(|line| line.begin && line.name == worker.name).count();
        workers.into_iter().all(|worker| begun(worker) >= calls)
    }

    /// What one has begun since there were `mark` lines, though the other had begun it before.
    pub(super) fn begun_behind(&self, mark: usize, one: &Worker, other: &Worker) -> Vec<u64> {
        let lines = self.lines();
        let before = |until: usize, number| {
            lines[..until].iter().any(|line| line.begin && line.name == other.name && line.number == number)
        };
        let begun = lines.iter().enumerate().skip(mark).filter(|(_, line)| line.begin && line.name == one.name);
        begun.filter(|(at, line)| before(*at, line.number)).map(|(_, line)| line.number).collect()
    }

    /// Kills the server, and starts it on what it has left.
    pub(super) async fn server_falls(&self) {
        self.server.restart().await.unwrap_or_else(|stop| panic!("{stop}"));
    }

    /// Publishes some more.
    pub(super) async fn publish(&mut self, count: u64) {
        let outgoing = |number| {
            let number = Number { key: number % KEYS, number };
            Outgoing::new(encode(&number).expect("a number").build())
        };
        let outcomes = self.broker.publish((self.sent..self.sent + count).map(outgoing).collect()).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, PublishOutcome::Confirmed(_))), "{outcomes:?}");
        self.sent += count;
    }

    /// Goes on publishing until something holds.
    pub(super) async fn feed(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < PATIENCE, "waited for in vain: {what}");
            self.publish(20).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    pub(super) async fn all_done(&self) {
        let done = || self.lines().iter().filter(|line| !line.begin).map(|line| line.number).collect::<BTreeSet<_>>();
        let (begun, all) = (Instant::now(), (0..self.sent).collect::<BTreeSet<_>>());
        while done() != all {
            assert!(begun.elapsed() < PATIENCE, "{} of {} are done", done().len(), self.sent);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Everything was done, each key began and was done for the first time in order, no more than `most` were done again, and all results
    /// are where they belong, as a foreign client reads them. Returns how it was.
    pub(super) async fn check(&self, most: u64) -> String {
        self.all_done().await;
        let lines = self.lines();
        self.in_order("began", lines.iter().filter(|line| line.begin).map(|line| line.number));
        // What is done, and not published yet.
        let begun = Instant::now();
        let results = loop {
            let results = self.results().await;
            if results.iter().collect::<BTreeSet<_>>().len() as u64 == self.sent {
                break results;
            }
            assert!(begun.elapsed() < PATIENCE, "{} are sent, and the results are {}", self.sent, results.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        self.in_order("was published", results.into_iter());
        let repeats = self.lines().iter().filter(|line| !line.begin).count() as u64 - self.sent;
        assert!(repeats <= most, "{repeats} were done again, and {most} may be");
        format!("{} messages, {repeats} of them were done again", self.sent)
    }

    async fn results(&self) -> Vec<u64> {
        let client = self.server.client().await.unwrap_or_else(|stop| panic!("{stop}"));
        let read = client.read(DONE).await.unwrap_or_else(|stop| panic!("{stop}"));
        let number = |payload: &[u8]| serde_json::from_slice::<Number>(payload).expect("a result").number;
        read.iter().filter_map(|message| message.payload.as_deref()).map(number).collect()
    }

    /// What comes for the first time of each key, comes in the order of its messages.
    fn in_order(&self, what: &str, numbers: impl Iterator<Item = u64>) {
        let mut first = BTreeMap::new();
        for (index, number) in numbers.enumerate() {
            first.entry(number).or_insert(index);
        }
        for (number, at) in &first {
            if let Some(before) = number.checked_sub(KEYS).and_then(|before| first.get(&before)) {
                assert!(before < at, "{number} {what} before {}", number - KEYS);
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Where something failed, somebody may want to read it.
        if !std::thread::panicking() {
            let _ = std::fs::remove_file(&self.log);
        }
    }
}

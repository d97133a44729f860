//! Two processes of one group on a real Kafka: one is killed, and one is frozen for longer than its session.
//!
//! This program is also the process: it starts itself with other arguments.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own says how it goes")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use convoke::prelude::*;
use convoke_core::Outgoing;
use convoke_core::broker::{Broker, BrokerConfig, BrokerUrl, EnsureMode, PublishOutcome, TopicSpec, Topology};
use convoke_servers::{Kind, Server};
use serde::{Deserialize, Serialize};

#[event(topic = "numbers", key = key)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Number {
    key: u64,
    number: u64,
}

const KEYS: u64 = 40;
const TAKES: Duration = Duration::from_millis(20);

#[handler(group = "workers", concurrency = 4)]
async fn work(number: Number, State(log): State<Log>) {
    log.say("begin", number.number);
    tokio::time::sleep(TAKES).await;
    log.say("done", number.number);
}

/// What the processes did, in a file that all of them write.
#[derive(Clone)]
struct Log {
    name: String,
    file: Arc<Mutex<File>>,
}

impl Log {
    fn say(&self, what: &str, number: u64) {
        let line = format!("{} {} {what} {number}\n", now(), self.name);
        self.file.lock().expect("the log").write_all(line.as_bytes()).expect("a line in the log");
    }
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// A line of the log.
#[derive(Debug, Clone)]
struct Line {
    at: u128,
    name: String,
    begin: bool,
    number: u64,
}

fn lines(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).expect("the log");
    let line = |line: &str| {
        let mut words = line.split(' ');
        let at = words.next()?.parse().ok()?;
        let (name, what) = (words.next()?.to_owned(), words.next()?);
        Some(Line { at, name, begin: what == "begin", number: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

fn done(lines: &[Line]) -> BTreeSet<u64> {
    lines.iter().filter(|line| !line.begin).map(|line| line.number).collect()
}

/// A process of the group. It is killed with the test.
struct Worker(Child);

impl Worker {
    fn start(name: &str, url: &str, log: &Path) -> Self {
        let program = std::env::current_exe().expect("this program");
        Self(Command::new(program).args(["worker", name, url]).arg(log).spawn().expect("a process"))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().expect("kill");
        assert!(sent.success(), "{signal} is not sent");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server, two processes, and what they are fed with.
struct Scene {
    broker: Arc<dyn Broker>,
    log: PathBuf,
    url: String,
    sent: u64,
    _server: Server,
}

impl Scene {
    async fn new(name: &str) -> Self {
        let server = Server::launch(Kind::Kafka).await.unwrap_or_else(|stop| panic!("{stop}"));
        let url = format!("{}?session=6s", server.url());
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        File::create(&log).expect("a log");
        let config = BrokerConfig::new(BrokerUrl::parse(&url).expect("a URL"), "source");
        let broker = convoke_kafka::open(config).await.expect("a connection");
        let mut topology = Topology::default();
        topology.topics.push(TopicSpec::new("numbers"));
        broker.ensure(&topology, EnsureMode::Create).await.expect("a topic");
        Self { broker, log, url, sent: 0, _server: server }
    }

    fn worker(&self, name: &str) -> Worker {
        Worker::start(name, &self.url, &self.log)
    }

    fn lines(&self) -> Vec<Line> {
        lines(&self.log)
    }

    /// Publishes some more.
    async fn publish(&mut self, count: u64) {
        let outgoing = |number| {
            let number = Number { key: number % KEYS, number };
            Outgoing::new(convoke_core::encode(&number).expect("a number").build())
        };
        let outcomes = self.broker.publish((self.sent..self.sent + count).map(outgoing).collect()).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, PublishOutcome::Confirmed(_))), "{outcomes:?}");
        self.sent += count;
    }

    /// Goes on publishing until something holds.
    async fn feed(&mut self, what: &str, holds: impl Fn(&[Line]) -> bool) {
        let begun = Instant::now();
        while !holds(&self.lines()) {
            assert!(begun.elapsed() < Duration::from_secs(120), "waited for in vain: {what}");
            self.publish(20).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    async fn all_done(&self) {
        let (begun, all) = (Instant::now(), (0..self.sent).collect::<BTreeSet<_>>());
        while done(&self.lines()) != all {
            assert!(begun.elapsed() < Duration::from_secs(120), "{} of {} are done", done(&self.lines()).len(), self.sent);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// First starts of a key are in the order of its messages.
    fn check_order(&self) {
        let mut first: BTreeMap<u64, (u128, usize)> = BTreeMap::new();
        for (index, line) in self.lines().iter().enumerate().filter(|(_, line)| line.begin) {
            first.entry(line.number).or_insert((line.at, index));
        }
        for (number, begun) in &first {
            if let Some(before) = number.checked_sub(KEYS).and_then(|before| first.get(&before)) {
                assert!(before < begun, "{number} began before {}", number - KEYS);
            }
        }
    }
}

fn both(lines: &[Line], calls: usize) -> bool {
    ["a", "b"].iter().all(|name| lines.iter().filter(|line| line.name == *name && line.begin).count() >= calls)
}

async fn a_process_that_is_killed_loses_nothing() {
    let mut scene = Scene::new("killed").await;
    let (a, _b) = (scene.worker("a"), scene.worker("b"));
    scene.feed("both work", |lines| both(lines, 20)).await;
    let calm = Instant::now();
    scene.feed("the group is calm", |_| calm.elapsed() > Duration::from_secs(2)).await;
    drop(a);
    scene.publish(100).await;
    scene.all_done().await;
    scene.check_order();
    let lines = scene.lines();
    let repeats = lines.iter().filter(|line| !line.begin).count() as u64 - scene.sent;
    // Four in flight, and what was finished since the last commit and while one was on its way.
    assert!(repeats <= 4 * (2 + 200 / 20 * 2), "{repeats} were done again");
    println!("    {} messages, {repeats} of them were done again", scene.sent);
}

async fn a_process_that_was_frozen_starts_nothing_that_another_has_taken_over() {
    let mut scene = Scene::new("frozen").await;
    let (a, _b) = (scene.worker("a"), scene.worker("b"));
    scene.feed("both work", |lines| both(lines, 20)).await;
    scene.publish(200).await;
    a.signal("-STOP");
    scene.publish(200).await;
    scene.all_done().await;
    let thawed = now();
    a.signal("-CONT");
    let lines = scene.lines().len();
    scene.feed("both work again", |all| both(&all[lines..], 5)).await;
    scene.all_done().await;
    scene.check_order();
    let all = scene.lines();
    for line in all.iter().filter(|line| line.name == "a" && line.begin && line.at >= thawed) {
        let taken = all.iter().any(|other| other.name == "b" && other.begin && other.number == line.number && other.at < line.at);
        assert!(!taken, "after it was frozen, `a` began {}, which `b` had begun", line.number);
    }
    println!("    {} messages; `a` works again after it was frozen", scene.sent);
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, name, url, log] = &arguments[..]
        && role == "worker"
    {
        let file = OpenOptions::new().append(true).open(log).expect("the log");
        let log = Log { name: name.clone(), file: Arc::new(Mutex::new(file)) };
        let run = async {
            let config = BrokerConfig::new(BrokerUrl::parse(url)?, "workers");
            App::new("workers").broker(convoke_kafka::open(config).await?).state(log).quiet().run().await
        };
        return match runtime.block_on(run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:?}");
                ExitCode::FAILURE
            }
        };
    }
    println!("a process that is killed loses nothing");
    runtime.block_on(a_process_that_is_killed_loses_nothing());
    println!("a process that was frozen starts nothing that another has taken over");
    runtime.block_on(a_process_that_was_frozen_starts_nothing_that_another_has_taken_over());
    ExitCode::SUCCESS
}

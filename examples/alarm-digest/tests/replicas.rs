//! Two replicas on a real NATS, which are killed at the worst moments, and agents that others wrote.

#![allow(clippy::print_stdout, reason = "a replica speaks to the test, and the test to whoever waits")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use alarm_digest::store::Sqlite;
use alarm_digest::{Desk, remind};
use common::stops::{Point, Stops};
use convoke::prelude::*;
use convoke_servers::{Kind, Server};
use serde_json::Value;

const CHILD: &str = "ALARM_DIGEST_REPLICA";
/// Without the agents there is nothing that it could say.
const PATIENCE: Duration = Duration::from_secs(300);
const POINTS: [Point; 4] = [Point::BeforePersist, Point::BeforePublish, Point::AfterPublish, Point::BeforeAck];

/// A replica: this program once more, with the place of its state, and where it is to stop if at all.
#[test]
fn replica() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (place, stop) = told.split_once(' ').expect("a place and a point");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = Sqlite::open(Path::new(place)).expect("a store");
        let point = stop.parse::<usize>().ok().map(|point| POINTS[point]);
        let stops = point.map(|point| Arc::new(Stops::new(Arc::new(store.clone()), point, 20)));
        if let Some(stops) = stops.clone() {
            tokio::spawn(async move {
                stops.reached.notified().await;
                println!("said: reached");
            });
        }
        let desk = stops.map_or_else(|| Desk::new(Arc::new(store)), |stops| Desk::new(stops));
        let app = App::new("alarm-digest").from_env().expect("a URL").state(desk.clone()).only(["note_change", "send_digest"]);
        let app = app.start().await.expect("it starts");
        tokio::spawn(remind(app.publisher().clone(), desk, Duration::from_secs(10)));
        println!("said: started");
        app.run().await.expect("it drains");
    });
}

/// Is killed with the test.
struct Replica(Child, mpsc::Receiver<String>);

impl Replica {
    fn start(url: &str, place: &Path, point: Option<usize>) -> Self {
        let told = format!("{} {}", place.display(), point.map_or_else(|| "-".to_owned(), |point| point.to_string()));
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", "replica", "--nocapture"]).env(CHILD, told).env("CONVOKE_BROKER", url).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a replica");
        let said = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (heard, lines) = mpsc::channel();
        std::thread::spawn(move || said.map_while(Result::ok).try_for_each(|line| heard.send(line)));
        let replica = Self(child, lines);
        replica.hears("said: started");
        replica
    }

    /// Waits until it says this.
    fn hears(&self, word: &str) {
        loop {
            let line = self.1.recv_timeout(PATIENCE);
            if line.unwrap_or_else(|error| panic!("a replica does not say `{word}`: {error}")).contains(word) {
                return;
            }
        }
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.0.kill().expect("it is killed");
        self.0.wait().expect("it is dead");
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn replicas_that_are_killed_lose_no_alarm_and_tell_none_twice() -> TestResult {
    let server = Server::launch(Kind::Nats).await?;
    let folder = std::env::temp_dir().join(format!("alarm-digest-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let place = folder.join("state.db");

    let _steady = Replica::start(server.url(), &place, None);
    let mut victim = Replica::start(server.url(), &place, Some(0));
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agents.py");
    let mut agents = Command::new("python3");
    agents.arg(program).args([server.url(), "200", "60", "7"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut agents = agents.spawn()?;
    let mut tell = agents.stdin.take().expect("their input");
    let mut said = BufReader::new(agents.stdout.take().expect("their output")).lines();

    let begun = Instant::now();
    for next in 1..=POINTS.len() {
        writeln!(tell)?;
        victim.hears("said: reached");
        victim.kill();
        victim = Replica::start(server.url(), &place, (next < POINTS.len()).then_some(next));
    }
    writeln!(tell)?;
    println!("killed at all points within {:?}", begun.elapsed());
    let published: Value = serde_json::from_str(&said.next().expect("a word of the agents")?)?;
    let verdict: Value = serde_json::from_str(&said.next().expect("their verdict")?)?;
    println!("{published} {verdict} after {:?}", begun.elapsed());
    assert!(agents.wait()?.success());
    for fault in ["lost", "repeated", "disordered", "empty"] {
        assert_eq!(verdict[fault], 0, "{fault}: {verdict}");
    }
    assert!(verdict["active"].as_u64() > Some(5000), "{verdict}");
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

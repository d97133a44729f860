//! The program on every broker: two replicas, of which one is killed, tell everything that a third process plays to them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alarm_digest::store::{Sqlite, Store as _};
use convoke::prelude::*;
use convoke_servers::{Kind, Server};
use jiff::Timestamp;

/// A replica, which does not outlive the test.
struct Replica(Child);

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(url: &str, store: &Path, role: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alarm-digest"));
    command.args(["--role", role, "--wait", "5"]).arg("--store").arg(store).env("CONVOKE_BROKER", url);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Plays the scenario, and says how many alarms are active at the end, how many were lost, and how many told twice or out of order.
fn played(mut program: Command) -> Result<[u64; 4], BoxError> {
    let played = program.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success(), "{text}{}", String::from_utf8_lossy(&played.stderr));
    let row = |name: &str| {
        let row = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no `{name}`: {text}"))?;
        Ok::<u64, BoxError>(row.trim().parse()?)
    };
    Ok([row("alarms active at the end")?, row("lost")?, row("told again without news")?, row("out of order")?])
}

fn store(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("alarm-digest-{name}-{}", std::process::id())).join("state.db")
}

/// The same on each of them.
const OUTCOME: [u64; 4] = [663, 0, 0, 0];

#[test]
fn alone_on_the_embedded_broker() -> TestResult {
    let store = store("memory");
    assert_eq!(played(program("memory://", &store, "all"))?, OUTCOME);
    Ok(std::fs::remove_dir_all(store.parent().ok_or("a folder")?)?)
}

async fn replicas_on(kind: Kind) -> TestResult {
    let server = Server::launch(kind).await?;
    // Soon enough for a test, another has what the dead one had.
    let url = server.url().to_owned() + if kind == Kind::Kafka { "?session=9s" } else { "" };
    let store = store(kind.name());
    let (victim, _steady) = (Replica(program(&url, &store, "serve").spawn()?), Replica(program(&url, &store, "serve").spawn()?));
    let play = program(&url, &store, "play");
    let outcome = tokio::task::spawn_blocking(|| played(play));
    // It dies in the midst of it: some of the users have news by then.
    let state = Sqlite::open(&store)?;
    while state.waiting(Timestamp::MAX).await?.len() < 10 && !outcome.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!outcome.is_finished(), "it was over before the replica died");
    drop(victim);
    assert_eq!(outcome.await??, OUTCOME);
    Ok(std::fs::remove_dir_all(store.parent().ok_or("a folder")?)?)
}

macro_rules! on_each {
    ($($name:ident $kind:ident)*) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() -> TestResult {
            replicas_on(Kind::$kind).await
        }
    )* };
}

on_each! {
    replicas_on_kafka Kafka
    replicas_on_nats Nats
    replicas_on_redis Redis
    replicas_on_rabbitmq RabbitMq
}

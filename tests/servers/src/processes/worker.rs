//! A process of the group: an application with one handler, which writes down what it does.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_core::broker::{BrokerConfig, BrokerUrl, OpenBroker};
use convoke_core::{
    BoxError, BoxHandler, Delivery, Error, Event, EventDef, FromDelivery as _, HandlerDef, HandlerOptions, IntoKey, Json, Key,
    Location, Registry, Reply, Signature, encode, handler_fn,
};
use convoke_runtime::App;
use serde::{Deserialize, Serialize};

use super::log::Log;

/// Where the work comes from, and where the results go.
pub(super) const WORK: &str = "numbers";
pub(super) const DONE: &str = "done";

/// How many messages a process works at, at a time.
const CONCURRENCY: u32 = 4;

/// How long each message takes.
const TAKES: Duration = Duration::from_millis(20);

/// A piece of work, and its result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Number {
    pub(super) key: u64,
    pub(super) number: u64,
}

impl Event for Number {
    type Codec = Json;
    const DEF: &'static EventDef = &EventDef::new::<Self>(WORK, Location::here(file!(), line!(), module_path!())).keyed();

    fn key(&self) -> Option<Key> {
        self.key.to_key()
    }
}

async fn run(delivery: Delivery) -> Result<Reply, BoxError> {
    let context = Arc::clone(delivery.context());
    let log = context.state.get::<Log>().ok_or("the application has no log")?;
    let number = Number::from_delivery(&delivery).map_err(|rejection| format!("{rejection:?}"))?;
    log.say("begin", number.number);
    tokio::time::sleep(TAKES).await;
    log.say("done", number.number);
    let mut reply = Reply::ack();
    reply.outgoing.push(encode(&number)?.topic(DONE));
    Ok(reply)
}

/// Works until it is told to stop.
pub(super) async fn work(open: OpenBroker, url: &str, log: Log) -> Result<(), Error> {
    let here = || Location::here(file!(), line!(), module_path!());
    let describe = |signature: &mut Signature| signature.inputs.push(Number::DEF);
    let def = HandlerDef::new("work", describe, || BoxHandler::new(handler_fn(run)), here());
    let mut options = HandlerOptions::new();
    (options.group, options.concurrency) = (Some("workers"), CONCURRENCY);
    let mut registry = Registry::default();
    registry.events = vec![Number::DEF, Box::leak(Box::new(EventDef::new::<Number>(DONE, here()).keyed()))];
    registry.handlers = vec![Box::leak(Box::new(def.options(options)))];
    let broker = open(BrokerConfig::new(BrokerUrl::parse(url)?, "workers")).await?;
    App::new("workers").registry(registry).state(log).broker(broker).quiet().run().await
}

/// Name, URL and log, if this program was started as such a process.
pub(super) fn asked() -> Option<(String, String, PathBuf)> {
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[..] {
        [_, role, name, url, log] if role == "worker" => Some((name.clone(), url.clone(), log.into())),
        _ => None,
    }
}

/// A process that works, and dies with us.
pub(super) struct Worker {
    pub(super) name: String,
    child: Child,
}

impl Worker {
    pub(super) fn start(name: String, url: &str, log: &Path) -> Self {
        let program = std::env::current_exe().expect("this program");
        let child = Command::new(program).args(["worker", &name, url]).arg(log).spawn().expect("a process");
        Self { name, child }
    }

    pub(super) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill");
        assert!(sent.success(), "{signal} is not sent");
    }

    /// Kills it, as `kill -9` does.
    pub(super) fn kill(self) {
        drop(self);
    }

    /// Waits until it has ended by itself.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a process of ours") {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "a process that was told to stop still runs");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

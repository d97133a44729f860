//! A process of a case: an application with a connection of its own, which can be drained, killed and frozen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use convoke_core::broker::{Broker, Ordering as Ordered, PublishOutcome};
use convoke_core::cloudevents::new_id;
use convoke_core::{Delivered, Error, Outgoing, Registry, encode, names};
use convoke_runtime::{App, AppHandle, DrainReport, End, HandlerStatus, Happening, Observer, What};
use tokio::time::Instant;

use crate::act::{Act, Acts};
use crate::home::Home;
use crate::lab::Lab;
use crate::note::{Note, declared, notes};
use crate::stop::{CaseResult, Stop, check};
use crate::story::Story;
use crate::tap::Tap;

type Configure = Arc<dyn Fn(App) -> App + Send + Sync>;

/// A process that is about to start.
#[derive(Clone)]
pub(crate) struct Setup {
    lab: Lab,
    process: &'static str,
    acts: Vec<Act>,
    configure: Configure,
}

/// A process that runs.
pub(crate) struct Process {
    lab: Lab,
    name: &'static str,
    handle: AppHandle,
    connection: Arc<dyn Broker>,
    home: Home,
    watch: Arc<Watch>,
}

impl Setup {
    pub(crate) fn new(lab: &Lab, process: &'static str) -> Self {
        Self { lab: lab.clone(), process, acts: Vec::new(), configure: Arc::new(|app| app) }
    }

    /// Adds a handler.
    pub(crate) fn with(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    /// Sets the application up otherwise than by default.
    pub(crate) fn configure(mut self, configure: impl Fn(App) -> App + Send + Sync + 'static) -> Self {
        self.configure = Arc::new(configure);
        self
    }

    /// Starts it. On a broken wire it may die of that at once, and is started again, as whoever runs it would do.
    pub(crate) async fn start(self) -> Result<Process, Stop> {
        let begun = Instant::now();
        loop {
            match self.clone().try_start().await? {
                Err(error) if self.lab.is_broken() && error.is_retryable() && begun.elapsed() < self.lab.patience() => {
                    self.lab.story().event(self.process, format!("did not start: {error}"));
                    self.lab.wait(self.lab.ms(100)).await;
                }
                started => return Ok(started?),
            }
        }
    }

    /// Starts it, or says why the application cannot start.
    pub(crate) async fn try_start(self) -> Result<Result<Process, Error>, Stop> {
        let Self { lab, process, acts, configure } = self;
        let (harness, story) = (lab.harness(), lab.story().clone());
        let watch = Arc::new(Watch {
            process: process.to_owned(),
            story: story.clone(),
            held: AtomicI64::new(0),
            most: AtomicI64::new(0),
            bytes: AtomicI64::new(0),
            most_bytes: AtomicI64::new(0),
        });
        let home = Home::new(harness.time()).await?;
        let (tapped, observer, wire, app_name) = (story.clone(), Arc::clone(&watch), lab.wire().clone(), lab.app_name());
        let (journal, topics) = (lab.journal().clone(), lab.topics());
        let patience = lab.is_falling().then(|| lab.patience());
        let start = async move {
            let connection = harness.open().await?;
            let keeps_order = connection.capabilities().ordering != Ordered::None;
            let acts: Vec<_> = acts.into_iter().map(|act| if keeps_order { act } else { act.unordered() }).collect();
            let mut registry = Registry::default();
            registry.events = topics.into_iter().map(declared).collect();
            registry.handlers = acts.iter().map(Act::define).collect();
            let acts = Arc::new(acts.into_iter().map(|act| (act.name, act)).collect::<HashMap<_, _>>());
            let acts = Acts { process: process.to_owned(), acts, journal, story: tapped.clone() };
            let tap = Tap::new(Arc::clone(&connection), process, tapped, wire);
            let app = App::new(app_name).registry(registry).state(acts).observe(observer).quiet();
            // A server that is started while others are may take its time.
            let app = patience.into_iter().fold(app, App::publish_within);
            let app = harness.tamper(configure(app));
            let handle = app.broker(Arc::new(tap)).start().await?;
            Ok::<_, Error>((handle, connection))
        };
        let (handle, connection) = match home.run(start).await? {
            Ok(started) => started,
            Err(error) => return Ok(Err(error)),
        };
        story.event(process, "started");
        lab.started(process, &handle);
        lab.begin_weather().await?;
        Ok(Ok(Process { lab, name: process, handle, connection, home, watch }))
    }
}

impl Process {
    pub(crate) fn handle(&self) -> &AppHandle {
        &self.handle
    }

    /// The broker under test, without anything around it.
    pub(crate) fn connection(&self) -> &Arc<dyn Broker> {
        &self.connection
    }

    /// Publishes notes as one batch, in order; each must be confirmed. On a broken wire one after the other: what is repeated out of a batch
    /// comes out of order.
    pub(crate) async fn publish(&self, topic: &'static str, notes: &[Note]) -> CaseResult {
        if self.lab.is_broken() {
            return self.publish_in_turn(topic, notes).await;
        }
        let batch = notes.iter().map(|note| outgoing(&self.lab, topic, note)).collect::<Result<_, _>>()?;
        for outcome in self.handle.broker().publish(batch).await {
            check!(matches!(outcome, PublishOutcome::Confirmed(_)), "a publish is not confirmed: {outcome:?}");
        }
        Ok(())
    }

    /// Publishes notes one after the other; each must be confirmed.
    pub(crate) async fn publish_in_turn(&self, topic: &'static str, notes: &[Note]) -> CaseResult {
        for note in notes {
            self.handle.publisher().publish(note).topic(topic).await?;
        }
        Ok(())
    }

    /// Publishes more notes, of so many keys, until something holds: how long members take to share the work is the broker's matter.
    pub(crate) async fn feed(
        &self,
        topic: &'static str,
        keys: u64,
        sent: &mut u64,
        what: &str,
        holds: impl Fn() -> bool,
    ) -> CaseResult {
        let begun = Instant::now();
        while !holds() {
            check!(begun.elapsed() < self.lab.patience(), "waited for in vain: {what}");
            let all = notes(*sent + 20, keys);
            self.publish(topic, &all[all.len() - 20..]).await?;
            *sent += 20;
            self.lab.wait(self.lab.ms(100)).await;
        }
        Ok(())
    }

    /// Waits until nothing is left to do.
    pub(crate) async fn settled(&self) -> CaseResult {
        if tokio::time::timeout(self.lab.patience(), self.handle.settled()).await.is_ok() {
            return Ok(());
        }
        let status = tokio::time::timeout(self.lab.ms(5000), self.handle.status()).await;
        Err(Stop::failed(format!("it does not come to an end: {status:#?}")))
    }

    pub(crate) async fn status(&self, handler: &str) -> Result<HandlerStatus, Stop> {
        let status = self.handle.status().await;
        let found = status.handlers.into_iter().find(|one| one.handler == handler);
        found.ok_or_else(|| Stop::failed(format!("the status knows no handler `{handler}`")))
    }

    /// How a handler is, with its lag. Who asks how things are is not kept waiting by a server that is busy, and asks again.
    pub(crate) async fn status_with_lag(&self, handler: &str) -> Result<HandlerStatus, Stop> {
        let begun = Instant::now();
        loop {
            let status = self.status(handler).await?;
            if status.lag.is_some() {
                return Ok(status);
            }
            check!(begun.elapsed() < self.lab.patience(), "its lag is not told: {status:#?}");
            self.lab.wait(self.lab.ms(50)).await;
        }
    }

    /// Waits until the handler has stopped, and says how it is.
    pub(crate) async fn stopped(&self, handler: &str) -> Result<HandlerStatus, Stop> {
        let begun = Instant::now();
        loop {
            let status = self.status(handler).await?;
            if !status.stopped.is_empty() {
                check!(!status.healthy && !self.handle.status().await.ready, "it has stopped, and is called healthy: {status:?}");
                return Ok(status);
            }
            check!(begun.elapsed() < self.lab.patience(), "it does not stop: {status:#?}");
            self.lab.wait(self.lab.ms(50)).await;
        }
    }

    /// Drains, which must be clean. On a broken wire what was said last may not arrive.
    pub(crate) async fn drain(self) -> Result<DrainReport, Stop> {
        let broken = self.lab.is_broken();
        let report = self.drain_somehow().await;
        let left = (report.clean, report.cancelled, report.unsettled, report.unconfirmed);
        check!(
            broken || left == (true, 0, 0, 0),
            "a drain that should be clean (clean, cancelled, unsettled, unconfirmed): {left:?}"
        );
        Ok(report)
    }

    /// Drains, however it ends.
    pub(crate) async fn drain_somehow(self) -> DrainReport {
        let report = self.handle.drain().await;
        self.lab.story().event(self.name, format!("drained: {report:?}"));
        self.lab.ended(self.name);
        self.home.end().await;
        report
    }

    /// Dies, without a word to anybody.
    pub(crate) async fn kill(self) {
        self.lab.story().event(self.name, "killed");
        self.lab.ended(self.name);
        match self.home {
            Home::Shared => self.handle.crash().await,
            own @ Home::Own { .. } => own.end().await,
        }
        self.lab.harness().bury(self.connection).await;
    }

    /// Does nothing for a while, and does not know it.
    pub(crate) fn freeze(&self, time: Duration) -> CaseResult {
        self.lab.story().event(self.name, format!("frozen for {time:?}"));
        self.home.freeze(time)
    }

    /// The most messages, and bytes, that it held at the same time.
    pub(crate) fn most_held(&self) -> (i64, i64) {
        (self.watch.most.load(Ordering::Acquire), self.watch.most_bytes.load(Ordering::Acquire))
    }

    /// Begins to count anew what it holds at most.
    pub(crate) fn forget_most_held(&self) {
        self.watch.most.store(self.watch.held.load(Ordering::Acquire), Ordering::Release);
        self.watch.most_bytes.store(self.watch.bytes.load(Ordering::Acquire), Ordering::Release);
    }

    /// No partition was taken from it.
    pub(crate) fn was_never_dispossessed(&self) -> CaseResult {
        let lost = |sent: &crate::tap::Sent| matches!(sent, crate::tap::Sent::Owned { process, assigned: false, .. } if process == self.name);
        let lost = self.lab.wire().sent().iter().filter(|sent| lost(sent)).count();
        check!(lost == 0, "{lost} partitions were taken from `{}`", self.name);
        Ok(())
    }
}

/// A note as a publisher sends it.
pub(crate) fn outgoing(lab: &Lab, topic: &'static str, note: &Note) -> Result<Outgoing, Stop> {
    let encoded = encode(note).map_err(|error| Stop::failed(format!("a note cannot be encoded: {error}")))?;
    let identified = encoded.topic(topic).header(names::ID, new_id()).header(names::SOURCE, lab.app_name());
    Ok(Outgoing::new(identified.header(names::SPEC_VERSION, names::SPEC_VERSION_1_0).build()))
}

/// Watches what a process holds.
struct Watch {
    process: String,
    story: Story,
    held: AtomicI64,
    most: AtomicI64,
    bytes: AtomicI64,
    most_bytes: AtomicI64,
}

impl Observer for Watch {
    fn observe(&self, happening: &Happening<'_>) {
        let (incoming, handler) = (happening.incoming, happening.handler);
        let size = i64::try_from(incoming.message.size()).unwrap_or(i64::MAX);
        let text = match happening.what {
            What::Delivered => {
                let held = self.held.fetch_add(1, Ordering::AcqRel) + 1;
                self.most.fetch_max(held, Ordering::AcqRel);
                let bytes = self.bytes.fetch_add(size, Ordering::AcqRel) + size;
                self.most_bytes.fetch_max(bytes, Ordering::AcqRel);
                let place = format!("{}/{}/{}", incoming.message.topic(), incoming.partition, incoming.position);
                format!("delivered to `{handler}` from {place}, delivery {}, attempts {}", incoming.deliveries, incoming.attempts)
            }
            What::Started { attempt } => format!("`{handler}` begins attempt {attempt}"),
            What::Retrying { attempts, delay, .. } => format!("attempt {attempts} failed, again in {delay:?}"),
            What::Dying { reason, attempts, error } => {
                format!("given up ({reason}) after {attempts} attempts: {}", error.unwrap_or("no error"))
            }
            What::Ended(end) => {
                self.held.fetch_sub(1, Ordering::AcqRel);
                self.bytes.fetch_sub(size, Ordering::AcqRel);
                ended(end).to_owned()
            }
            _ => return,
        };
        let id = Delivered::new(incoming.clone(), 1).id().into_owned();
        self.story.message(&self.process, &id, incoming.message.payload(), text);
    }
}

fn ended(end: End) -> &'static str {
    match end {
        End::Acked => "left: acknowledged",
        End::Dropped => "left: dropped",
        End::Skipped => "left: skipped",
        End::Dead => "left: dead letter",
        End::Retried => "left: given back for a later retry",
        End::Returned => "left: given back",
        End::Lost => "left: lost",
        End::Duplicate => "left: it was held already",
        _ => "left",
    }
}

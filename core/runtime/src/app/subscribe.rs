//! Topics that are named at run time: read, watched and deleted.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use convoke_core::broker::{EnsureMode, Start, TopicSpec, Topology};
use convoke_core::{BoxFuture, Error, ErrorKind, HandlerDef, Topic};
use tokio::time::Instant;

use super::bound::Bound;
use super::brokers::BrokerNames;
use super::build::told;
use super::handle::{AppHandle, DrainReport, GRACE};
use super::plan::{AtRunTime, PlannedRoute, PlannedSubscription, Problems};
use super::status::HandlerStatus;
use crate::driver::Command;

/// A handler, by its name in the registry or as it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HandlerRef {
    /// A handler that is linked into the program, or was registered by hand.
    Name(String),
    /// Any handler.
    Def(&'static HandlerDef),
}

impl From<&str> for HandlerRef {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for HandlerRef {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<&'static HandlerDef> for HandlerRef {
    fn from(def: &'static HandlerDef) -> Self {
        Self::Def(def)
    }
}

impl AppHandle {
    /// Has a handler read a topic that is named now: set what is special about it, then `.await` it.
    ///
    /// The handler is one of the program, by name, or any [`HandlerDef`]; it may be bound to other topics as well. It has the
    /// application's state and layers. One that is to be bound at run time only is named in [`App::on_demand`](super::App::on_demand).
    ///
    /// # Delivery
    /// As for every other subscription. When it is awaited, the topic and the group exist, and the subscription is open: what is
    /// published from then on is read, wherever the group begins.
    pub fn subscribe(&self, topic: impl Into<Topic>, handler: impl Into<HandlerRef>) -> Subscribe<'_> {
        Subscribe { app: self, topic: topic.into(), handler: handler.into(), group: None, start: None, until_end: false }
    }

    /// Makes sure that a topic exists, with the broker's default number of partitions. Where there are several brokers: on that which
    /// the application publishes the topic to, as [`Publisher::publish_message`](convoke_core::Publisher::publish_message) does; else on the
    /// first. [`create_topic_on`](Self::create_topic_on) names it.
    ///
    /// # Cancel safety
    /// If the future is dropped, the topic may have been created.
    ///
    /// # Errors
    /// What the broker says.
    pub async fn create_topic(&self, topic: impl Into<Topic>) -> Result<(), Error> {
        let topic = self.topic(topic.into().as_str());
        self.create_at(self.0.binder.outward.home_of(&topic), topic).await
    }

    /// As [`create_topic`](Self::create_topic), on the broker of this name. Until a handler reads the topic there, or an event of the
    /// program has it, messages that name no broker do not go there.
    ///
    /// # Cancel safety
    /// If the future is dropped, the topic may have been created.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the application has no such broker; what the broker says.
    pub async fn create_topic_on(&self, broker: &str, topic: impl Into<Topic>) -> Result<(), Error> {
        let topic = self.topic(topic.into().as_str());
        self.create_at(self.number_of(broker)?, topic).await
    }

    /// Deletes a topic and everything in it, and forgets how far groups were in it. Of several brokers, the one that
    /// [`create_topic`](Self::create_topic) means; [`delete_topic_on`](Self::delete_topic_on) names it.
    ///
    /// # Delivery
    /// What was not handled is gone. Topics that belong to it (dead letters, the groups' places for what comes again) stay:
    /// [`RunningSubscription::delete`] deletes the latter too.
    ///
    /// # Cancel safety
    /// If the future is dropped, the topic may have been deleted.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if this application reads it; [`ErrorKind::Unsupported`] if the adapter cannot delete topics;
    /// what the broker says.
    pub async fn delete_topic(&self, topic: impl Into<Topic>) -> Result<(), Error> {
        let topic = self.topic(topic.into().as_str());
        self.delete_at(self.0.binder.outward.home_of(&topic), topic).await
    }

    /// As [`delete_topic`](Self::delete_topic), of the broker of this name.
    ///
    /// # Delivery
    /// As there.
    ///
    /// # Cancel safety
    /// If the future is dropped, the topic may have been deleted.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the application has no such broker; else as there.
    pub async fn delete_topic_on(&self, broker: &str, topic: impl Into<Topic>) -> Result<(), Error> {
        let topic = self.topic(topic.into().as_str());
        self.delete_at(self.number_of(broker)?, topic).await
    }

    fn number_of(&self, broker: &str) -> Result<usize, Error> {
        let names = BrokerNames::of_all(&self.0.binder.brokers);
        names.find(Some(broker)).ok_or_else(|| Error::new(ErrorKind::NotFound, names.missing("the call", broker)))
    }

    async fn create_at(&self, broker: usize, topic: Topic) -> Result<(), Error> {
        let mut topology = Topology::default();
        topology.topics.push(TopicSpec::new(topic));
        self.0.binder.brokers[broker].broker.ensure(&topology, EnsureMode::Create).await.map(drop)
    }

    async fn delete_at(&self, broker: usize, topic: Topic) -> Result<(), Error> {
        let _one = self.0.binding.lock().await;
        if let Some(reading) = self.0.bounds.all().iter().find(|bound| bound.broker == broker && bound.topics.contains(&topic)) {
            let text = format!(
                "`{topic}` is being read by `{}` in the group `{}`; unsubscribe it before the topic is deleted",
                reading.handlers.join("`, `"),
                reading.group
            );
            return Err(Error::new(ErrorKind::Configuration, text));
        }
        self.0.binder.brokers[broker].broker.delete_topic(&topic).await
    }
}

/// A subscription about to be made at run time: set what is special about it, then `.await` it.
///
/// # Cancel safety
/// If the future is dropped, nothing is read; topic and group may have been created.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no such handler; [`ErrorKind::Configuration`] with all that is wrong, also if the group reads
/// the topic already in this application; [`ErrorKind::Closed`] once the application drains; what the broker says.
#[must_use = "nothing is read until this is awaited"]
pub struct Subscribe<'a> {
    app: &'a AppHandle,
    topic: Topic,
    handler: HandlerRef,
    group: Option<String>,
    start: Option<Start>,
    until_end: bool,
}

impl Subscribe<'_> {
    /// Reads for this group, in place of the handler's own.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Where the group begins if it does not read the topic yet, in place of what the handler says.
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// Reads what the topic holds now, and ends: see [`RunningSubscription::ended`].
    pub fn until_end(mut self) -> Self {
        self.until_end = true;
        self
    }

    async fn run(self) -> Result<RunningSubscription, Error> {
        let inner = &self.app.0;
        let binder = &inner.binder;
        let _one = inner.binding.lock().await;
        if inner.bounds.is_closed() {
            return Err(draining());
        }
        let handler = match self.handler {
            HandlerRef::Def(handler) => handler,
            HandlerRef::Name(name) => binder.handler(&name)?,
        };
        let mut problems = Problems::new();
        let at = AtRunTime { topic: self.topic.as_str(), group: self.group.as_deref(), start: self.start };
        let plan = binder.plan_one(handler, at, self.until_end, &mut problems);
        for bound in inner.bounds.all() {
            let same = |topic: &&Topic| {
                let reads = |one: &PlannedSubscription| one.broker == bound.broker && one.topics.contains(topic);
                plan.subscriptions.iter().any(|one| one.group == bound.group && reads(one))
            };
            if let Some(topic) = bound.topics.iter().find(same) {
                problems.push(format!(
                    "the group `{}` reads `{topic}` already, by `{}`; name another `group`, or unsubscribe that first",
                    bound.group,
                    bound.handlers.join("`, `")
                ));
            }
        }
        let [subscription] = &plan.subscriptions[..] else {
            return Err(Error::new(ErrorKind::Configuration, told(&cannot(&self.topic), &problems)));
        };
        if !problems.is_empty() {
            return Err(Error::new(ErrorKind::Configuration, told(&cannot(&self.topic), &problems)));
        }
        plan.ensure(&binder.brokers).await?;
        let opened = binder.open(subscription).await?;
        let topics = subscription.routes.iter().flat_map(PlannedRoute::topics);
        topics.for_each(|topic| binder.outward.read(subscription.broker, topic, &binder.registry.events));
        let dead = subscription.routes[0].sources[0].dead.clone();
        // A drain that has begun meanwhile: what was opened was granted nothing, and goes as it came.
        let bound = inner.bounds.add(|| binder.bind(subscription, Some(opened))).ok_or_else(draining)?;
        Ok(RunningSubscription { app: self.app.clone(), bound, dead })
    }
}

fn cannot(topic: &Topic) -> String {
    format!("`{topic}` cannot be subscribed to")
}

fn draining() -> Error {
    Error::new(ErrorKind::Closed, "the application is draining and binds nothing more; subscribe before `drain`")
}

impl<'a> IntoFuture for Subscribe<'a> {
    type Output = Result<RunningSubscription, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    // Inline, so that the future is compiled by who uses it.
    #[inline]
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Subscribe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe").field("topic", &self.topic).field("handler", &self.handler).finish_non_exhaustive()
    }
}

/// A subscription that was made at run time. Cheap to clone; dropping it changes nothing: the subscription goes on until it comes to
/// its marked end, is unsubscribed, or the application drains.
#[derive(Clone)]
pub struct RunningSubscription {
    app: AppHandle,
    bound: Arc<Bound>,
    dead: Topic,
}

impl RunningSubscription {
    /// The topic that it reads.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.bound.topics[0]
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.bound.group
    }

    /// Where its dead letters go.
    #[must_use]
    pub fn dead_letters(&self) -> &Topic {
        &self.dead
    }

    /// Starts nothing more until it is resumed. What runs goes on; nothing is lost or repeated.
    pub fn pause(&self) {
        self.bound.tell(self.bound.handlers[0], &Command::Pause);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.bound.tell(self.bound.handlers[0], &Command::Resume);
    }

    /// How it is now.
    ///
    /// # Cancel safety
    /// Safe: nothing changes.
    ///
    /// # Panics
    /// Never: a subscription has a handler.
    pub async fn status(&self) -> HandlerStatus {
        self.bound.status(&self.app.0.binder.brokers[self.bound.broker]).await.swap_remove(0)
    }

    /// Waits until it has ended: at its marked end ([`Subscribe::until_end`]), because it was unsubscribed, because a policy stopped it,
    /// or because the application drains.
    ///
    /// # Delivery
    /// At the marked end everything below the mark is settled, by this process or by other members of the group.
    ///
    /// # Cancel safety
    /// Safe: nothing changes.
    pub async fn ended(&self) -> DrainReport {
        let begun = Instant::now();
        // The sender lives as long as the application's handle.
        let _ = self.app.0.binder.ends.subscribe().wait_for(|_| self.bound.remote.has_ended()).await;
        self.joined(begun, Instant::now() + GRACE).await
    }

    /// Ends it: takes nothing more, finishes what runs within the time that the application's drain may take, gives back the rest.
    ///
    /// # Delivery
    /// As [`AppHandle::drain`], for this subscription alone. The group stays, and a new subscription goes on where this one stopped.
    ///
    /// # Cancel safety
    /// If the future is dropped it ends all the same; call it again to wait for that.
    pub async fn unsubscribe(&self) -> DrainReport {
        let begun = Instant::now();
        let within = self.app.0.binder.settings.drain_within;
        self.bound.dismissed.store(true, Ordering::Release);
        self.bound.remote.send(Command::Drain(within));
        self.joined(begun, begun + within + GRACE).await
    }

    /// Unsubscribes, then deletes the topic, with the group's place for what comes again: a stream that was made for one run, and was
    /// consumed. Dead letters stay, to be looked at.
    ///
    /// # Cancel safety
    /// If the future is dropped, any of this may have happened; call it again.
    ///
    /// # Errors
    /// As [`AppHandle::delete_topic`].
    pub async fn delete(&self) -> Result<DrainReport, Error> {
        let report = self.unsubscribe().await;
        let _one = self.app.0.binding.lock().await;
        for bound in self.app.0.bounds.all().into_iter().filter(|bound| bound.broker == self.bound.broker) {
            if let Some(topic) = bound.topics.iter().find(|topic| self.bound.topics.contains(topic)) {
                let text = format!("`{topic}` is being read in the group `{}`, too; unsubscribe it first", bound.group);
                return Err(Error::new(ErrorKind::Configuration, text));
            }
        }
        for topic in &self.bound.topics {
            match self.app.0.binder.brokers[self.bound.broker].broker.delete_topic(topic).await {
                // By an earlier call that was not waited for.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result?,
            }
        }
        Ok(report)
    }

    async fn joined(&self, begun: Instant, limit: Instant) -> DrainReport {
        let clean = self.bound.join(limit).await && !self.app.0.aborted.load(Ordering::Acquire);
        let (unsettled, cancelled) = {
            let core = self.bound.remote.core();
            (core.unsettled(), core.cancelled)
        };
        let clean = clean && cancelled == 0 && unsettled == 0;
        let stopped = u64::from(self.bound.has_stopped());
        DrainReport { clean, cancelled, unsettled, unconfirmed: 0, stopped, took: begun.elapsed() }
    }
}

impl fmt::Debug for RunningSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningSubscription").field("topic", self.topic()).field("group", &self.group()).finish_non_exhaustive()
    }
}

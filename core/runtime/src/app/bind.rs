//! From an application that was found in order to a running one: its handlers are bound to drivers.

use std::sync::Arc;

use convoke_core::broker::Topology;
use convoke_core::{Error, Publisher};
use tokio::sync::watch;

use super::App;
use super::binder::Binder;
use super::brokers::{BrokerNames, Named};
use super::deploy::{Deployment, Names};
use super::handle::{AppHandle, Inner};
use super::plan::Plan;
use crate::publisher::{Outward, Sink};

/// An application that was found in order.
#[must_use = "an application does nothing until `start`"]
pub struct ReadyApp {
    pub(super) app: App,
    pub(super) plan: Plan,
    pub(super) names: Names,
    pub(super) deployment: Deployment,
    pub(super) brokers: Vec<Named>,
    pub(super) table: String,
}

impl std::fmt::Debug for ReadyApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadyApp").field("app", &self.app).finish_non_exhaustive()
    }
}

impl ReadyApp {
    /// The table of what is bound to what.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// What must exist on the broker, the first where there are several: also the groups' own places for messages that come again, each with as many partitions as
    /// the topic whose messages they are, and who reads dead letters.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.plan.topology(0)
    }

    /// The same for a further broker; `None` if there is none of this name.
    #[must_use]
    pub fn topology_of(&self, broker: &str) -> Option<Topology> {
        BrokerNames::of_all(&self.brokers).find(Some(broker)).map(|index| self.plan.topology(index))
    }

    /// The way out of the application.
    fn outward(&self) -> Outward {
        let events = &self.app.registry.events;
        let brokers = self.brokers.iter().map(|one| Arc::clone(&one.broker)).collect();
        let mut outward = Outward::new(&self.app.name, self.names.clone(), brokers);
        let names = BrokerNames::of_all(&self.brokers);
        outward.events(events, |event| names.of(event));
        for route in self.plan.routes() {
            route.topics().for_each(|topic| outward.read(route.broker, topic, events));
        }
        outward
    }

    /// Starts it.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing has been started; topics and groups may have been created.
    ///
    /// # Errors
    /// What the broker says while topics and groups are made.
    pub async fn start(self) -> Result<AppHandle, Error> {
        self.plan.ensure(&self.brokers).await?;
        if self.app.settings.show_table {
            print_table(&self.table);
        }
        let outward = Arc::new(self.outward());
        let Self { app, plan, brokers, deployment, .. } = self;
        let sink = Arc::new(Sink::new(Arc::clone(&outward), app.settings.publish_within));
        let binder = Binder {
            app: Arc::from(&*app.name),
            registry: app.registry,
            deployment,
            state: Arc::new(app.state),
            outward,
            publisher: Publisher::new(Arc::<Sink>::clone(&sink)),
            brokers,
            layers: app.layers,
            settings: app.settings,
            observers: app.observers,
            turns: Arc::new(watch::Sender::new(0)),
            ends: Arc::new(watch::Sender::new(0)),
        };
        // All of them before anything runs: what handlers return comes after every mark, and no broadcast misses it.
        let mut opened = Vec::with_capacity(plan.subscriptions.len());
        for subscription in &plan.subscriptions {
            let first = subscription.until_end || subscription.broadcast;
            opened.push(if first { Some(binder.open(subscription).await?) } else { None });
        }
        let bound = plan.subscriptions.iter().zip(opened).map(|(one, opened)| Arc::new(binder.bind(one, opened))).collect();
        Ok(AppHandle::new(Inner::new(binder, sink, bound, app.until_end)))
    }
}

#[allow(clippy::print_stderr, reason = "the table is for whoever starts the program; stdout belongs to the program")]
fn print_table(table: &str) {
    eprint!("{table}");
}

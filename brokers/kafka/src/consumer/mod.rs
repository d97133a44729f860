//! A subscription: a consumer on a thread of its own.

mod assign;
mod close;
mod commit;
mod context;
mod control;
mod gap;
mod intake;
mod plan;
mod revoke;
mod state;
#[cfg(test)]
mod tests;
mod thread;
mod tick;

use std::sync::Arc;

use convoke_core::broker::{Start, SubscribeSpec, Subscription};
use convoke_core::{Error, ErrorKind, TopicPattern};
use rdkafka::consumer::BaseConsumer;
use rdkafka::topic_partition_list::Offset;

use crate::broker::{Kafka, internal};
use crate::client::lock;
use crate::errors::{self, no_topic};
use crate::{config, starts};
use context::Context;
use plan::Plan;
pub(crate) use state::{Held, Shared};

/// Begins to read.
pub(crate) async fn subscribe(kafka: &Kafka, spec: SubscribeSpec) -> Result<Subscription, Error> {
    starts::check(spec.start)?;
    if spec.topics.is_empty() {
        return Err(Error::new(ErrorKind::Configuration, "a subscription reads at least one topic; name it"));
    }
    let mut topics = Vec::with_capacity(spec.topics.len());
    for topic in &spec.topics {
        if TopicPattern::new(topic.as_str()).is_some() {
            let text =
                format!("`{topic}` stands for several topics, and the Kafka adapter reads topics by their names; name them");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let found = kafka.found(topic).await?.ok_or_else(|| no_topic(topic))?;
        topics.push((topic.clone(), found.partitions));
    }
    let options = kafka.options.with(&spec.native)?;
    let mut plan = Plan::new(&spec, topics, &options, kafka.metadata);
    if spec.until_end || (spec.broadcast && spec.start == Start::New) {
        // Where it ends, or begins, is where the topics end now, and not when the first partition is assigned.
        let places = plan.places();
        let ends = kafka
            .ask(move |client| {
                let ends = starts::at(client, &places, Offset::End);
                ends.map_err(|error| errors::error("Kafka was asked where its topics end, and did not answer", &error))
            })
            .await?;
        plan.ends = ends.into_iter().map(Option::unwrap_or_default).collect();
    }
    let config = config::consumer(&options, &kafka.app, &plan.group_id, plan.assignor);
    let (send, receive) = convoke_broker_common::events();
    let shared = Arc::new(Shared::new(plan, send, Arc::clone(&kafka.said)));
    let context = Context::new(&shared, &kafka.link);
    let consumer: BaseConsumer<Context> = config.create_with_context(context).map_err(|error| config::refused(&error))?;
    let consumer = Arc::new(consumer);
    let spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name).spawn(run).map(drop).map_err(|error| internal().with_source(error))
    };
    let (of_thread, of_consumer) = (Arc::clone(&shared), Arc::clone(&consumer));
    spawn(format!("commit-{}", spec.group), Box::new(move || of_thread.commit_all(&of_consumer)))?;
    let of_thread = Arc::clone(&shared);
    spawn(format!("poll-{}", spec.group), Box::new(move || thread::run(&of_thread, consumer)))?;
    lock(&kafka.subscriptions).push(Arc::downgrade(&shared));
    Ok(control::subscription(shared, receive))
}

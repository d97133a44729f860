//! Reading: who has which partition, what comes out of it, and what becomes of it.

mod control;
mod ledger;
mod map;
mod member;
mod part;
mod parts;
mod presence;
mod router;
mod session;
mod voice;

use std::sync::{Arc, Weak};

use convoke_broker_common::events;
use convoke_core::broker::{EnsureMode, Start, SubscribeSpec, Subscription};
use convoke_core::{Error, ErrorKind, TopicPattern};
use tokio::sync::mpsc;

pub(crate) use parts::Parts;

use crate::options::Options;
use crate::publish::Publisher;
use crate::shared::Shared;
use crate::{failure, names, topology};
use control::Control;
use member::{Member, Reads};

/// What is known of a subscription outside of it.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) group: String,
    /// Its name, if it is an instance of a broadcast.
    pub(crate) instance: Option<String>,
    pub(crate) parts: Weak<Parts>,
    /// Ends it as its control does.
    pub(crate) close: mpsc::UnboundedSender<tokio::sync::oneshot::Sender<()>>,
}

/// Begins to read.
pub(crate) async fn subscribe(
    shared: &Arc<Shared>,
    publisher: &Arc<Publisher>,
    spec: SubscribeSpec,
) -> Result<Subscription, Error> {
    if spec.topics.is_empty() {
        return Err(Error::new(ErrorKind::Configuration, "a subscription reads at least one topic; name it"));
    }
    if spec.until_end {
        return Err(failure::unsupported("reading to a marked end"));
    }
    if let Some(pattern) = spec.topics.iter().find(|topic| TopicPattern::new(topic.as_str()).is_some()) {
        return Err(failure::unsupported(&format!("patterns of topics (`{pattern}`)")));
    }
    // An instance of a broadcast gets what comes from now on, and a group what comes once it exists.
    if !(spec.broadcast && spec.start == Start::New) {
        topology::check_start(spec.start)?;
    }
    let Options { prefetch, revoke, .. } = shared.options.with(&spec.native)?;
    names::check(spec.topics.iter(), spec.topics.iter().map(|topic| (&*spec.group, topic)))?;
    let mut topics = Vec::with_capacity(spec.topics.len());
    for topic in &spec.topics {
        let partitions = shared.partitions(topic).await?;
        if !topics.iter().any(|(other, _)| other == topic) {
            topics.push((topic.clone(), partitions));
        }
    }
    let instance = uuid::Uuid::now_v7().simple().to_string();
    let reads = Reads { group: spec.group.clone(), topics, instance, broadcast: spec.broadcast, prefetch, revoke };
    for (topic, _) in &reads.topics {
        match &reads.broadcast {
            true => shared.ensure_instance(topic, &reads.group, &reads.instance).await?,
            false => shared.ensure_group(topic, &reads.group, EnsureMode::Create).await?,
        }
    }
    let (events, stream) = events();
    let (close, closing) = mpsc::unbounded_channel();
    let parts = Arc::new(Parts::default());
    let instance = reads.broadcast.then(|| reads.instance.clone());
    shared.add_reader(Reader { group: spec.group, instance, parts: Arc::downgrade(&parts), close: close.clone() });
    let member = Member::new(Arc::clone(shared), Arc::clone(publisher), reads, events, Arc::clone(&parts));
    tokio::spawn(member.run(closing));
    Ok(Subscription::new(Box::pin(stream), Box::new(Control { parts, close })))
}

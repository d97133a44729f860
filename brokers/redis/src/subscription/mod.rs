//! Subscriptions: who has which partition, what is read, and how it is settled.
//!
//! Two tasks live as long as the event stream: a [`member`](member::Member), which renews leases, takes and gives back partitions and
//! reads, and one that [settles](settling). Both go through the connection of all; the member has one of its own, to wait on.

mod chores;
mod desk;
mod member;
mod ownership;
mod part;
mod reading;
mod settling;
mod waiting;

use std::sync::Arc;

use convoke_broker_common::events;
use convoke_core::broker::{Lag, Start, SubscribeSpec, Subscription};
use convoke_core::{Error, ErrorKind};
use redis::{Pipeline, Value, cmd};

pub(crate) use desk::Desk;
use desk::{Control, ReadTopic};
use part::Part;

use crate::keys::{GroupKeys, PartKeys};
use crate::link::Link;
use crate::publish::Topics;
use crate::reply::{Id, bytes, list, text};
use crate::{keys, topology};

/// Begins to read.
pub(crate) async fn open(link: &Arc<Link>, topics: &Topics, spec: SubscribeSpec) -> Result<(Arc<Desk>, Subscription), Error> {
    if spec.topics.is_empty() {
        return Err(Error::new(ErrorKind::Configuration, "a subscription reads at least one topic; name it"));
    }
    let mut names = spec.topics.clone();
    names.sort_unstable();
    names.dedup();
    let revoke = link.options.with(&spec.native)?.revoke;
    let mut read = Vec::with_capacity(names.len());
    for name in names {
        keys::check(&name)?;
        let known = topics.of(link, &name).await.map_err(|problem| problem.error("a topic cannot be looked up"))?;
        let kind = link.ask(cmd("TYPE").arg(name.as_str())).await;
        let kind = text(kind.map_err(|failure| failure.error(&format!("topic `{name}` cannot be looked up")))?);
        let has_foreign = matches!(&*kind, "stream" | "none");
        if !has_foreign {
            tracing::warn!(topic = %name, kind, "there is a key of the topic's name that is no stream; plain messages to it are not read");
        }
        let keys = GroupKeys::new(&known.keys, &spec.group);
        read.push(ReadTopic { name, known, keys, has_foreign });
    }
    if !spec.broadcast {
        topology::join(link, &spec.group, read.iter().map(|topic| &topic.name), spec.start).await?;
    }
    let mut parts = Vec::new();
    for (index, topic) in read.iter().enumerate() {
        for number in 0..topic.known.partitions {
            let keys = PartKeys::new(&topic.known.keys, &spec.group, number);
            parts.push(Part { topic: index, number, keys, own: None, end: None, place: Id::default() });
        }
    }
    mark(link, &spec, &mut parts).await?;
    let (events, stream) = events();
    let desk = Arc::new(Desk::new(spec.group, read, parts, spec.broadcast, revoke, events));
    tokio::spawn(member::run(Arc::clone(&desk), Arc::clone(link)));
    Ok((Arc::clone(&desk), Subscription::new(Box::pin(stream), Box::new(Control(desk)))))
}

/// Where it ends, and where one without a group begins.
async fn mark(link: &Link, spec: &SubscribeSpec, parts: &mut [Part]) -> Result<(), Error> {
    if !spec.until_end && !spec.broadcast {
        return Ok(());
    }
    let mut pipe = Pipeline::new();
    for part in &*parts {
        pipe.cmd("XINFO").arg("STREAM").arg(&part.keys.stream);
    }
    let what = "the end of a topic cannot be read";
    let answers = link.ask_all(&mut pipe).await.map_err(|failure| failure.error(what))?;
    for (part, answer) in parts.iter_mut().zip(answers) {
        let end = last_of(answer.map_err(|failure| failure.error(what))?);
        part.end = spec.until_end.then_some(end);
        part.place = match spec.start {
            Start::New => end,
            Start::At(position) => Id::of(position).map(Id::previous).unwrap_or_default(),
            Start::Time(time) => {
                let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                Id(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), 0).previous()
            }
            _ => Id::default(),
        };
    }
    Ok(())
}

/// How far a subscription without a group is, which only whoever reads it knows.
pub(crate) async fn lag(link: &Link, desk: &Desk) -> Result<Lag, Error> {
    let (mut pipe, mut open) = (Pipeline::new(), 0);
    for part in desk.parts().iter() {
        let (last, held) = part.own.as_ref().map_or((part.place, 0), |own| (own.last, own.hand.len() + own.again.len()));
        open += held as u64;
        // How many there are beyond that changes nothing.
        pipe.cmd("XRANGE").arg(&part.keys.stream).arg(format!("({last}")).arg("+").arg("COUNT").arg(1000);
    }
    let what = "the lag of a broadcast cannot be read";
    let mut backlog = 0;
    for answer in link.ask_all(&mut pipe).await.map_err(|failure| failure.error(what))? {
        backlog += list(answer.map_err(|failure| failure.error(what))?).len() as u64;
    }
    let mut lag = Lag::default();
    (lag.backlog, lag.unsettled, lag.delayed) = (Some(backlog), Some(open), Some(0));
    Ok(lag)
}

/// The last id that a stream has given out, from what it says of itself.
fn last_of(info: Value) -> Id {
    let mut rest = list(info);
    while let (Some(name), Some(value)) = (rest.next(), rest.next()) {
        if bytes(name) == b"last-generated-id" {
            return Id::parse(&bytes(value)).unwrap_or_default();
        }
    }
    Id::default()
}

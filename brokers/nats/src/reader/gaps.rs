//! Seeing what the server discards while we read.

use std::time::Instant;

use convoke_core::broker::SubscriptionEvent;
use convoke_core::{Epoch, Error, PartId, Topic};

use super::session::{Done, Session};
use crate::takeover::Seen;
use crate::{consumers, failure, names};

/// A partition that is looked at.
struct Look {
    part: PartId,
    epoch: Epoch,
    topic: Topic,
    partition: u32,
    place: String,
    upto: u64,
    /// Whether the server sends us at once whatever comes.
    waits: bool,
}

/// What was seen of a partition.
pub(super) struct Looked {
    part: PartId,
    epoch: Epoch,
    seen: Seen,
}

impl Session<'_> {
    /// Looks now and then where the streams begin.
    pub(super) fn look_for_gaps(&mut self, now: Instant) {
        if now < self.next_gap_look {
            return;
        }
        self.next_gap_look = now + 4 * self.link.options.lease;
        let looks = self.reader.epochs.all().filter_map(|(part, epoch)| {
            let of = &self.reader.parts[part.0 as usize];
            let held = of.held.as_ref()?;
            let (topic, place) = (of.topic.clone(), of.place.clone());
            Some(Look { part, epoch, topic, partition: of.partition, place, upto: held.seen.0, waits: held.waits() })
        });
        let (looks, link, store, group) =
            (looks.collect::<Vec<_>>(), self.link.clone(), self.reader.store.clone(), self.reader.spec.group.clone());
        self.under_way.push(Box::pin(async move {
            match look(&link, &store, &group, looks).await {
                Ok(looked) => Done::Looked(looked),
                Err(error) => {
                    tracing::debug!(%error, "it is not known where the streams begin; it is asked again");
                    Done::Nothing
                }
            }
        }));
    }

    pub(super) fn looked_for_gaps(&mut self, looked: Vec<Looked>) {
        for Looked { part, epoch, seen } in looked {
            if !self.reader.epochs.is_present(part, epoch) {
                continue;
            }
            if let Some(held) = &mut self.reader.parts[part.0 as usize].held {
                held.seen = (held.seen.0.max(seen.upto).max(seen.first), held.seen.1.max(seen.count));
            }
            if let Some((from, to)) = seen.gap() {
                self.reader.events.tell(SubscriptionEvent::Gap { part, from, to });
            }
        }
    }
}

async fn look(
    link: &crate::link::Link,
    store: &crate::store::Store,
    group: &str,
    looks: Vec<Look>,
) -> Result<Vec<Looked>, Error> {
    let mut looked = Vec::new();
    let mut stream: Option<(Topic, u64, u64)> = None;
    for Look { part, epoch, topic, partition, place, upto, waits } in looks {
        // The partitions of a topic stand together.
        if stream.as_ref().is_none_or(|(of, ..)| *of != topic) {
            let found = link.jetstream.get_stream(names::stream(topic.as_str())).await;
            let found =
                found.map_err(|error| failure::of(format!("the stream of topic `{topic}` cannot be looked at"), error))?;
            let state = &found.cached_info().state;
            stream = Some((topic.clone(), state.first_sequence, state.last_sequence));
        }
        let Some((_, first, last)) = stream else { continue };
        if first <= upto {
            continue;
        }
        let info = consumers::consumer(link, group, &topic, partition).await?;
        let mut seen =
            Seen { upto: upto.max(info.delivered.stream_sequence + 1), count: info.delivered.consumer_sequence, first };
        if waits && seen.gap().is_some() {
            if info.num_pending > 0 {
                continue;
            }
            // Whatever came was sent to us at once: there was nothing in what is gone. It is kept for whoever follows us.
            seen.upto = last + 1;
            store.set_seen(&place, (seen.upto, seen.count)).await?;
        }
        looked.push(Looked { part, epoch, seen });
    }
    Ok(looked)
}

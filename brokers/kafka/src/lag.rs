//! How far a group is behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use convoke_core::broker::{Lag, Progress};
use convoke_core::{Error, ErrorKind, Position, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use crate::broker::{Kafka, internal};
use crate::client::{Plain, lock};
use crate::config;
use crate::consumer::Held;
use crate::errors::{self, no_topic};
use crate::starts::{self, PATIENCE, Place};
use crate::stranded::{self, Sight};

const ANSWER: Duration = Duration::from_secs(2);

/// A client for each group that is asked about: what a group has committed is told to its own clients only.
#[derive(Default)]
pub(crate) struct Askers(Mutex<HashMap<String, Asker>>);

struct Asker {
    client: Arc<BaseConsumer<Plain>>,
    sight: Sight,
}

impl Askers {
    /// All of them, to be ended.
    pub(crate) fn take(&self) -> Vec<Arc<BaseConsumer<Plain>>> {
        lock(&self.0).drain().map(|(_, asker)| asker.client).collect()
    }

    /// The servers are away.
    pub(crate) fn excuse(&self) {
        lock(&self.0).values_mut().for_each(|asker| asker.sight.excuse());
    }

    /// Gives up those that have lost sight of the servers, which are there: who asks next has another. Blocks.
    pub(crate) fn drop_stranded(&self) {
        let all: Vec<_> = lock(&self.0).iter().map(|(group, asker)| (group.clone(), Arc::clone(&asker.client))).collect();
        for (group, client) in all {
            let answer = stranded::ask(client.client(), Duration::from_millis(500));
            let mut askers = lock(&self.0);
            if askers.get_mut(&group).is_some_and(|asker| asker.sight.note(&answer, Instant::now())) {
                askers.remove(&group);
            }
        }
    }
}

impl Kafka {
    fn asker(&self, group: &str) -> Result<Arc<BaseConsumer<Plain>>, Error> {
        let mut askers = lock(&self.askers.0);
        if let Some(found) = askers.get(group) {
            return Ok(Arc::clone(&found.client));
        }
        let config = config::asking(&self.options, &self.app, Some(group));
        let client = config.create_with_context(Plain(Arc::clone(&self.link))).map_err(|error| config::refused(&error))?;
        let client = Arc::new(client);
        askers.insert(group.to_owned(), Asker { client: Arc::clone(&client), sight: Sight::default() });
        Ok(client)
    }

    /// Within a time: whoever looks at an application while the servers are away does not wait for them.
    pub(crate) async fn lag_of(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        let answer = tokio::time::timeout(ANSWER, self.ask_lag(group, topics)).await;
        answer.unwrap_or_else(|_| {
            let text =
                format!("Kafka was asked how far the group `{group}` is, and did not answer; see that the brokers are there");
            Err(Error::new(ErrorKind::Timeout, text))
        })
    }

    async fn ask_lag(&self, group: &str, topics: &[Topic]) -> Result<Lag, Error> {
        let mut places: Vec<Place> = Vec::new();
        for topic in topics {
            let found = self.found(topic).await?.ok_or_else(|| no_topic(topic))?;
            places.extend((0..found.partitions).map(|partition| (topic.clone(), partition)));
        }
        let ours = self.live().into_iter().filter(|one| one.is_of(group)).collect::<Vec<_>>();
        // A broadcast has its place with itself, and nobody else knows of it.
        let broadcast = ours.iter().any(|one| one.plan.broadcast);
        let held: HashMap<Place, Held> = ours.iter().flat_map(|one| one.places()).collect();
        let (asker, name) = (self.asker(group)?, group.to_owned());
        let said = tokio::task::spawn_blocking(move || {
            let kept = match broadcast {
                true => places.iter().map(|place| held.get(place).map(|held| (held.upto, held.done))).collect(),
                false => committed(&asker, &places)?,
            };
            let ends = starts::at(&asker, &places, Offset::End)?;
            // A group that never committed begins at what is there.
            let lows = starts::at(&asker, &places, Offset::Beginning)?;
            let (mut backlog, mut unsettled) = (0, 0);
            for (((place, kept), end), low) in places.iter().zip(kept).zip(ends).zip(lows) {
                let (upto, done) = kept.unwrap_or_default();
                let from = upto.max(low.unwrap_or_default());
                // What other processes were given is told to nobody: it counts as backlog.
                let given = held.get(place).map_or(from, |held| held.given.max(from));
                // What is done above was given by us, or before us.
                let (out, behind) = (given - from, end.unwrap_or_default().saturating_sub(given));
                unsettled += out.saturating_sub(done);
                backlog += behind.saturating_sub(done.saturating_sub(out));
            }
            Ok::<_, KafkaError>((backlog, unsettled))
        });
        let text = format!("Kafka was asked how far the group `{name}` is, and did not answer");
        let (backlog, unsettled) = said.await.map_err(|_| internal())?.map_err(|error| errors::error(&text, &error))?;
        let mut lag = Lag::default();
        (lag.backlog, lag.unsettled) = (Some(backlog), Some(unsettled));
        Ok(lag)
    }
}

/// Where the group is, and how many are done above it.
fn committed(asker: &BaseConsumer<Plain>, places: &[Place]) -> Result<Vec<Option<(u64, u64)>>, KafkaError> {
    let committed = asker.committed_offsets(starts::list(places, Offset::Invalid)?, PATIENCE)?;
    let of = |place| {
        let found = starts::find(&committed, place)?;
        let upto = starts::number(found.offset())?;
        let saved = Progress::decode(found.metadata(), Position::Offset(upto), starts::clock());
        let count = |(first, last): &(Position, Position)| match (first, last) {
            (Position::Offset(first), Position::Offset(last)) => last - first + 1,
            _ => 0,
        };
        Some((upto, saved.map_or(0, |saved| saved.progress.done.iter().map(count).sum())))
    };
    Ok(places.iter().map(of).collect())
}

//! Listing, sending back and throwing away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use convoke_core::broker::{EnsureMode, TopicSpec, Topology};
use convoke_core::{Error, ErrorKind, Outgoing, Topic, names};

use super::read::Reader;
use super::report::{Fate, Handled, Options, Refusal, Report};
use super::{DeadLetter, DeadLetters, Filter};
use crate::publisher::{Outward, Sink};

/// How long a publish that is refused for now, or not answered, is repeated under the same id.
const PUBLISH_WITHIN: Duration = Duration::from_secs(30);

/// Dead letters, and whether they are all.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listing {
    /// Those that are meant, each partition's in order.
    pub letters: Vec<DeadLetter>,
    /// Whether everything that was in the topic at the beginning was looked at. `false` if the limit was reached, or somebody else, in
    /// the same group, has partitions of the topic.
    pub complete: bool,
    /// How many partitions somebody else has or took over.
    pub elsewhere: u32,
}

/// What is done with a letter that is meant.
enum Work<'w> {
    SendBack { sink: &'w Sink, places: HashMap<Topic, bool> },
    Purge,
}

impl DeadLetters {
    /// The dead letters of a topic that are meant, `limit` of them at most. They stay.
    ///
    /// # Delivery
    /// Nothing is settled. What was read is given back at the end, so that whoever reads next in the same group sees it again.
    ///
    /// # Cancel safety
    /// Safe: nothing was changed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such topic; what the broker says.
    pub async fn list(&self, topic: impl Into<Topic>, filter: &Filter, limit: u64) -> Result<Listing, Error> {
        let topic = self.topic(topic).await?;
        let mut reader = Reader::open(&*self.broker, &topic).await?;
        let mut letters = Vec::new();
        let mut reached = false;
        while let Some(incoming) = reader.next().await {
            reader.leave(&incoming);
            let letter = DeadLetter::new(incoming);
            if filter.matches(&letter) {
                reached = letters.len() as u64 >= limit;
                if reached {
                    break;
                }
                letters.push(letter);
            }
        }
        let (elsewhere, complete) = (reader.elsewhere(), !reached && reader.complete());
        reader.close().await;
        Ok(Listing { letters, complete, elsewhere })
    }

    /// Sends dead letters of a topic back to the group that gave up on them, and to no other. `each` is told of every one that is
    /// meant.
    ///
    /// A letter goes into the group's own place beside the topic that it was read from, as it was: payload, key, id and headers, less
    /// those of a dead letter, and with the header [`names::REPLAY_COUNT`] raised. The group's handlers get it as a message of that
    /// topic, with all their attempts. A bare message keeps its id in the header [`names::ORIGIN_ID`].
    ///
    /// # Delivery
    /// One after the other: the broker has confirmed a letter in the group's place before it is settled as a dead letter. Where
    /// this is stopped in between, that one is sent back once more by the next call, under the same id.
    ///
    /// # Cancel safety
    /// If the future is dropped, what was sent back is; one of it may still be a dead letter. Call again to go on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such topic; what the broker says before anything is done. What stops it later is in
    /// [`Report::stopped`].
    ///
    /// # Examples
    /// ```
    /// use convoke_core::DeadReason;
    /// use convoke_runtime::dead::{DeadLetters, Filter, Options};
    ///
    /// # async fn example() -> Result<(), convoke_core::Error> {
    /// let dead = DeadLetters::open("kafka://localhost:9092").await?;
    /// let timed_out = Options::new().filter(Filter::new().reason(DeadReason::Timeout)).limit(1000);
    /// let report = dead.redrive("orders.paid.warehouse.dead", &timed_out, |one| println!("{one:?}")).await?;
    /// println!("{} sent back, {} left", report.done, report.left);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn redrive(&self, topic: impl Into<Topic>, options: &Options, each: impl FnMut(&Handled)) -> Result<Report, Error> {
        let outward = Arc::new(Outward::to(Arc::clone(&self.broker), names::REDRIVE_GROUP));
        let sink = Sink::new(outward, PUBLISH_WITHIN);
        self.work(topic.into(), options, Work::SendBack { sink: &sink, places: HashMap::new() }, each).await
    }

    /// Throws dead letters of a topic away. `each` is told of every one that is meant. They cannot be got back by these tools; a
    /// broker that keeps a log keeps their bytes for as long as it keeps any.
    ///
    /// # Delivery
    /// Each is settled, and nothing is published.
    ///
    /// # Cancel safety
    /// If the future is dropped, what was thrown away is. Call again to go on.
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    pub async fn purge(&self, topic: impl Into<Topic>, options: &Options, each: impl FnMut(&Handled)) -> Result<Report, Error> {
        self.work(topic.into(), options, Work::Purge, each).await
    }

    async fn work(
        &self,
        topic: Topic,
        options: &Options,
        mut work: Work<'_>,
        mut each: impl FnMut(&Handled),
    ) -> Result<Report, Error> {
        let topic = self.topic(topic).await?;
        let mut reader = Reader::open(&*self.broker, &topic).await?;
        let mut report = Report { complete: true, ..Report::default() };
        let mut meant = 0;
        while let Some(incoming) = reader.next().await {
            let letter = DeadLetter::new(incoming);
            if !options.filter.matches(&letter) {
                reader.leave(letter.incoming());
                (report.seen, report.left) = (report.seen + 1, report.left + 1);
                continue;
            }
            if meant == options.limit {
                report.complete = false;
                break;
            }
            (report.seen, meant) = (report.seen + 1, meant + 1);
            if !options.dry_run && !reader.has_room(letter.incoming()) {
                (report.seen, report.stopped) = (report.seen - 1, Some(too_many_gaps()));
                break;
            }
            let (fate, stop) = match self.decide(&letter, &mut work, options).await {
                Ok(fate) if !matches!(fate, Fate::Refused(_)) && !options.dry_run => {
                    carry_out(&letter, fate, &work, &mut reader).await
                }
                Ok(fate) => (fate, None),
                Err(error) => (Fate::Failed(error), None),
            };
            if !matches!(fate, Fate::SentBack { .. } | Fate::Purged) || options.dry_run {
                reader.leave(letter.incoming());
            }
            report.count(&fate);
            let handled = Handled { letter, fate };
            each(&handled);
            report.stopped = match handled.fate {
                // What may pass concerns all that would follow.
                Fate::Failed(error) if error.is_retryable() => Some(error),
                _ => stop,
            };
            if report.stopped.is_some() {
                break;
            }
        }
        report.elsewhere = reader.elsewhere();
        report.complete &= report.stopped.is_none() && reader.complete();
        reader.close().await;
        Ok(report)
    }

    /// What is to become of a letter.
    async fn decide(&self, letter: &DeadLetter, work: &mut Work<'_>, options: &Options) -> Result<Fate, Error> {
        let Work::SendBack { places, .. } = work else { return Ok(Fate::Purged) };
        let Some(to) = letter.place() else { return Ok(Fate::Refused(Refusal::UnknownOrigin)) };
        if letter.replays() >= options.max_replays {
            return Ok(Fate::Refused(Refusal::TooManyReplays { replays: letter.replays() }));
        }
        let there = match places.get(&to) {
            Some(there) => *there,
            None => {
                let there = self.exists(&to).await?;
                places.insert(to.clone(), there);
                there
            }
        };
        Ok(if there { Fate::SentBack { to } } else { Fate::Refused(Refusal::NoPlace { place: to }) })
    }

    async fn exists(&self, topic: &Topic) -> Result<bool, Error> {
        let mut topology = Topology::default();
        topology.topics.push(TopicSpec::new(topic.clone()));
        match self.broker.ensure(&topology, EnsureMode::Check).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Does what was decided: first the publish is confirmed, then the letter is settled. Says too what must stop the work.
async fn carry_out(letter: &DeadLetter, fate: Fate, work: &Work<'_>, reader: &mut Reader<'_>) -> (Fate, Option<Error>) {
    if let (Work::SendBack { sink, .. }, Fate::SentBack { to }) = (work, &fate) {
        let mut outgoing = Outgoing::new(letter.restored(to));
        (outgoing.verbatim, outgoing.require_route) = (true, true);
        if let Some(Err(error)) = sink.publish_all(vec![outgoing]).await.pop() {
            return (Fate::Failed(error), None);
        }
    }
    match (reader.settle(letter.incoming()).await, fate) {
        (Ok(()), fate) => (fate, None),
        // The next would only be sent twice, too, unless it is of another partition.
        (Err(error), Fate::SentBack { to }) => {
            (Fate::SentBackAndKept { to }, Some(error).filter(|error| error.kind() != ErrorKind::Closed))
        }
        (Err(error), _) => (Fate::Failed(error), None),
    }
}

fn too_many_gaps() -> Error {
    let text = "the broker keeps positions, and has no room for more gaps between letters that stay; choose more of them, or purge those \
                that nobody wants, and call again";
    Error::new(ErrorKind::Unsupported, text)
}

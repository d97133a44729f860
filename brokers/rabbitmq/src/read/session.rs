//! A member on one connection: it says that it lives, hears who else does, and has its share of the partitions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_broker_common::Backoff;
use convoke_core::broker::{Resume, SubscriptionEvent};
use convoke_core::{Epoch, Error, PartId, Topic};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, Consumer, ExchangeKind};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::map::units_of;
use super::member::{Member, Over};
use super::part::{End, Part};
use super::parts::{Command, Handle};
use super::presence::{Presence, Word};
use super::router;
use super::voice::Voice;
use crate::{failure, names};

/// How long a member that has just come listens who else is there before it takes anything.
const LISTEN: Duration = Duration::from_millis(200);

/// See the module's documentation.
pub(crate) struct Session<'m> {
    member: &'m mut Member,
    generation: u64,
    connection: Arc<Connection>,
    presence: Presence,
    voice: Voice,
    parts: JoinSet<(PartId, Epoch, End)>,
    routers: JoinSet<()>,
}

impl<'m> Session<'m> {
    pub(crate) fn new(member: &'m mut Member, generation: u64, connection: Arc<Connection>) -> Self {
        let presence = Presence::new(&member.reads.instance, member.shared.options.member);
        Self { member, generation, connection, presence, voice: Voice::default(), parts: JoinSet::new(), routers: JoinSet::new() }
    }

    /// Works until something ends it.
    pub(crate) async fn run(
        &mut self,
        closing: &mut mpsc::UnboundedReceiver<oneshot::Sender<()>>,
        backoff: &mut Backoff,
    ) -> Over {
        let begun = async {
            self.member.ensure().await?;
            self.listen().await
        };
        let mut ears = match begun.await {
            Ok(ears) => ears,
            Err(error) => return Over::Down(error),
        };
        backoff.reset();
        self.member.events.resumed();
        for (topic, _) in &self.member.reads.topics {
            let (publisher, (asked, asks)) = (Arc::clone(&self.member.publisher), mpsc::unbounded_channel());
            self.member.parts.routes(&names::foreign_queue(topic.as_str()), asked);
            self.routers.spawn(router::run(Arc::clone(&self.connection), publisher, topic.clone(), asks));
        }
        let mut state = self.member.shared.reading.watch();
        let mut beat = tokio::time::interval(self.member.shared.options.member / 3);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut word = Word::Hello;
        let listened = tokio::time::sleep(if self.member.reads.broadcast { Duration::ZERO } else { LISTEN });
        tokio::pin!(listened);
        let mut settled = false;
        if state.borrow_and_update().generation != self.generation {
            return self.member.down();
        }
        loop {
            let events = self.member.events.clone();
            let changed = tokio::select! {
                Some(done) = closing.recv() => return Over::Closed(Some(done)),
                () = events.gone() => return Over::Gone,
                _ = state.changed() => {
                    let now = state.borrow_and_update().clone();
                    if now.closed {
                        return Over::Closed(None);
                    }
                    if now.generation != self.generation || now.connection.is_none() {
                        return self.member.down();
                    }
                    for (part, epoch) in self.member.parts.all() {
                        self.member.events.renewed(part, epoch, now.until);
                    }
                    false
                }
                heard = hear(&mut ears) => match heard {
                    Some(said) => match Word::read(&said) {
                        Some((said, member)) => {
                            let changed = self.presence.heard(said, member, Instant::now());
                            if said == Word::Hello && member != self.member.reads.instance {
                                self.say(Word::Here).await;
                            }
                            changed
                        }
                        None => false,
                    },
                    // The channel is gone, and with it what others say: begin anew.
                    None => return Over::Down(failure::down(Some("the members' channel was closed"))),
                },
                _ = beat.tick(), if !self.member.reads.broadcast => {
                    self.say(std::mem::replace(&mut word, Word::Here)).await;
                    self.presence.pass(Instant::now())
                }
                () = &mut listened, if !settled => {
                    settled = true;
                    true
                }
                Some(ended) = self.parts.join_next() => {
                    if let Ok((part, epoch, end)) = ended {
                        self.ended(part, epoch, end);
                    }
                    true
                }
            };
            if changed
                && settled
                && let Err(error) = self.balance().await
            {
                return Over::Down(error);
            }
        }
    }

    /// Hears what other members say from here on. A broadcast has none.
    async fn listen(&self) -> Result<Option<Consumer>, Error> {
        let reads = &self.member.reads;
        if reads.broadcast {
            return Ok(None);
        }
        let exchange = names::members(reads.topics[0].0.as_str(), &reads.group);
        let begun = async {
            let channel = self.connection.create_channel().await?;
            let (declare, none) = (ExchangeDeclareOptions { auto_delete: true, ..Default::default() }, FieldTable::default);
            channel.exchange_declare(exchange.as_str().into(), ExchangeKind::Fanout, declare, none()).await?;
            let declare = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
            let queue = channel.queue_declare("".into(), declare, none()).await?;
            channel
                .queue_bind(queue.name().clone(), exchange.as_str().into(), "".into(), QueueBindOptions::default(), none())
                .await?;
            let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
            channel.basic_consume(queue.name().clone(), "".into(), options, none()).await
        };
        self.member.shared.ask("let the members of a group hear each other", begun).await.map(Some)
    }

    /// Tells the other members.
    async fn say(&mut self, word: Word) {
        let reads = &self.member.reads;
        if !reads.broadcast {
            let exchange = names::members(reads.topics[0].0.as_str(), &reads.group);
            self.voice.say(&self.member.shared.publishing, exchange, word.write(&reads.instance)).await;
        }
    }

    /// The partitions that this member is to have now: topic, number and queue of each, by its index.
    fn mine(&self) -> Vec<(PartId, Topic, u32, String)> {
        let reads = &self.member.reads;
        let mut mine = Vec::new();
        let mut first = 0;
        if reads.broadcast {
            return (0..)
                .zip(&reads.topics)
                .map(|(part, (topic, _))| {
                    (PartId(part), topic.clone(), 0, names::instance_queue(topic.as_str(), &reads.group, &reads.instance))
                })
                .collect();
        }
        let units = reads.topics.iter().map(|(_, partitions)| *partitions).max().unwrap_or(0);
        let units: BTreeSet<u32> = units_of(self.presence.members(), &reads.instance, units).into_iter().collect();
        for (topic, partitions) in &reads.topics {
            let of_topic = units.iter().filter(|unit| *unit < partitions);
            mine.extend(
                of_topic
                    .map(|unit| (PartId(first + unit), topic.clone(), *unit, names::queue(topic.as_str(), &reads.group, *unit))),
            );
            first += partitions;
        }
        mine
    }

    /// Asks back what others are to have, and takes what this member is to have and has not.
    async fn balance(&mut self) -> Result<(), Error> {
        let within = self.member.reads.revoke;
        let mine = self.mine();
        let wanted: Vec<_> = {
            let mut held = self.member.parts.lock();
            for (part, handle) in held.iter_mut() {
                if !handle.revoking && !mine.iter().any(|(id, ..)| id == part) {
                    handle.revoking = true;
                    let _ = handle.commands.send(Command::Revoke(within));
                    self.member.events.tell(SubscriptionEvent::Revoking { part: *part, epoch: handle.epoch, within });
                }
            }
            mine.into_iter().filter(|(part, ..)| !held.contains_key(part)).collect()
        };
        // All are told of at once, so that the runtime divides what may be in flight among all of them.
        let opened = try_join_all(wanted.iter().map(|_| self.connection.create_channel()));
        let channels = self.member.shared.ask("open a channel for each partition", opened).await?;
        let until = self.member.shared.reading.state().until;
        for ((part, topic, unit, queue), channel) in wanted.into_iter().zip(channels) {
            self.member.epoch += 1;
            let (epoch, shared) = (Epoch(self.member.epoch), &self.member.shared);
            let (commands, told) = mpsc::unbounded_channel();
            let handle = Handle { epoch, queue: queue.clone(), revoking: false, commands };
            self.member.parts.lock().insert(part, handle);
            self.member.events.assigned(part, topic.clone(), unit, epoch, Some(until), Resume::default());
            let (prefetch, patience) = (self.member.reads.prefetch, shared.options.confirm);
            let events = self.member.events.clone();
            let task = Part { part, epoch, topic, partition: unit, queue, prefetch, channel, events, patience };
            let shared = Arc::clone(shared);
            self.parts.spawn(async move {
                let (end, unsettled) = task.run(told).await;
                shared.ended_with(unsettled);
                (part, epoch, end)
            });
        }
        Ok(())
    }

    fn ended(&mut self, part: PartId, epoch: Epoch, end: End) {
        if self.member.parts.end(part, epoch).is_none() {
            return;
        }
        if let End::Lost(why) = end {
            tracing::warn!(
                group = self.member.reads.group,
                part = part.0,
                why,
                "a partition is lost; what was not settled comes again"
            );
            self.member.events.tell(SubscriptionEvent::Lost { part, epoch });
        }
    }

    /// Gives back what is left.
    pub(crate) async fn end(&mut self, over: &Over) {
        if matches!(over, Over::Closed(_)) {
            self.say(Word::Bye).await;
        }
        self.routers.shutdown().await;
        // Without its handle a partition ends: it closes its channel. Of a connection that is gone nobody waits for that.
        let left: Vec<_> = self.member.parts.lock().drain().map(|(part, handle)| (part, handle.epoch)).collect();
        if matches!(over, Over::Down(_)) {
            left.into_iter().for_each(|(part, epoch)| self.member.events.tell(SubscriptionEvent::Lost { part, epoch }));
        }
        if matches!(over, Over::Down(_)) {
            self.parts.detach_all();
        }
        while self.parts.join_next().await.is_some() {}
        if matches!(over, Over::Closed(_)) && self.member.reads.broadcast {
            let reads = &self.member.reads;
            for (topic, _) in &reads.topics {
                self.member.shared.delete_instance(topic, &reads.group, &reads.instance).await;
            }
        }
    }
}

async fn hear(ears: &mut Option<Consumer>) -> Option<Vec<u8>> {
    match ears {
        Some(consumer) => consumer.next().await?.ok().map(|delivery| delivery.data),
        None => std::future::pending().await,
    }
}

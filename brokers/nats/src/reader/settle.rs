//! Settling: what is said to the server, and what is kept beside it.
//!
//! What stands behind the message is told in the order of the calls; what has to be kept first is told when that is so.

use std::time::Duration;

use async_nats::Subject;
use convoke_core::broker::{Settle, Settled, Settlement, Token};
use convoke_core::{BoxFuture, Error, ErrorKind, PartId, Position};
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::session::{Done, Session};
use crate::arrival::Arrived;
use crate::store::{Kept, now_millis};
use crate::takeover;

/// What becomes of a settlement: it is known, or comes to be.
enum Answer {
    Now(Settled),
    Later(BoxFuture<'static, Settled>),
}

impl Session<'_> {
    pub(super) async fn settle(&mut self, batch: Vec<Settlement>, answer: oneshot::Sender<Vec<Settled>>) -> Result<(), Error> {
        let mut answers = Vec::with_capacity(batch.len());
        for settlement in batch {
            let part = settlement.token.part.0 as usize;
            answers.push(self.settle_one(settlement).await?);
            if let Some(part) = self.reader.parts.get(part) {
                part.count_hands();
            }
        }
        if answers.iter().all(|answer| matches!(answer, Answer::Now(_))) {
            let known =
                answers.into_iter().filter_map(|answer| if let Answer::Now(settled) = answer { Some(settled) } else { None });
            let _ = answer.send(known.collect());
            return Ok(());
        }
        self.under_way.push(Box::pin(async move {
            let each = answers.into_iter().map(|answer| async {
                match answer {
                    Answer::Now(settled) => settled,
                    Answer::Later(settled) => settled.await,
                }
            });
            let _ = answer.send(join_all(each).await);
            Done::Nothing
        }));
        Ok(())
    }

    async fn settle_one(&mut self, settlement: Settlement) -> Result<Answer, Error> {
        let Settlement { token: Token { part, epoch, position, .. }, settle, .. } = settlement;
        let Position::Offset(sequence) = position else { return Ok(Answer::Now(Settled::Stale)) };
        if !self.reader.epochs.is_present(part, epoch) {
            return Ok(Answer::Now(Settled::Stale));
        }
        let Some(held) = &mut self.reader.parts[part.0 as usize].held else { return Ok(Answer::Now(Settled::Stale)) };
        let Some(arrived) = held.hand.get(&sequence) else { return Ok(Answer::Now(Settled::Stale)) };
        match settle {
            Settle::Ack => {
                let reply = arrived.reply.clone();
                held.hand.remove(&sequence);
                match reply {
                    Some(reply) => self.ack(part, sequence, reply).await,
                    None => Ok(self.done_aside(part, sequence)),
                }
            }
            Settle::Extend => {
                if let Some(reply) = arrived.reply.clone() {
                    self.link.send(reply, None, "+WPI".into()).await?;
                }
                Ok(Answer::Now(Settled::Applied))
            }
            Settle::Mark { deaths } => {
                let kept = held.kept.entry(sequence).or_default();
                kept.deaths = deaths;
                let kept = *kept;
                Ok(self.keep(part, sequence, kept, None))
            }
            Settle::Nack { delay, attempts, hold } => Ok(self.nack(part, sequence, delay, attempts, hold)),
            _ => {
                let text = "the adapter for NATS does not know this settlement";
                Ok(Answer::Now(Settled::Failed(Error::new(ErrorKind::Unsupported, text))))
            }
        }
    }

    async fn ack(&mut self, part: PartId, sequence: u64, reply: Subject) -> Result<Answer, Error> {
        let index = part.0 as usize;
        let kept = self.reader.parts[index].held.as_mut().and_then(|held| held.kept.remove(&sequence));
        let answer = if self.reader.spec.confirm_acks {
            let link = self.link.clone();
            Answer::Later(Box::pin(async move {
                match link.client.request(reply, "+ACK".into()).await {
                    Ok(_) => Settled::Applied,
                    Err(error) => Settled::Failed(crate::failure::of("an acknowledgement was not confirmed", error)),
                }
            }))
        } else {
            self.link.send(reply, None, "+ACK".into()).await?;
            Answer::Now(Settled::Applied)
        };
        if kept.is_some() {
            let (store, place) = (self.reader.store.clone(), self.reader.parts[index].place.clone());
            self.under_way.push(Box::pin(async move {
                if let Err(error) = store.drop_kept(&place, sequence).await {
                    // The next owner removes it: it is kept of what is settled.
                    tracing::debug!(%error, "what was kept of a message was not removed");
                }
                Done::Nothing
            }));
        }
        Ok(answer)
    }

    /// Settles what was set aside: only the bucket knows of it.
    fn done_aside(&mut self, part: PartId, sequence: u64) -> Answer {
        let part = &mut self.reader.parts[part.0 as usize];
        if let Some(held) = &mut part.held {
            held.kept.remove(&sequence);
        }
        let (store, place) = (self.reader.store.clone(), part.place.clone());
        Answer::Later(Box::pin(async move {
            match store.drop_kept(&place, sequence).await {
                Ok(()) => Settled::Applied,
                Err(error) => Settled::Failed(error),
            }
        }))
    }

    /// Keeps something of a message and, if it is to wait on the server, sends it there.
    fn keep(&mut self, part: PartId, sequence: u64, kept: Kept, wait: Option<(Arrived, Duration)>) -> Answer {
        let (store, link) = (self.reader.store.clone(), self.link.clone());
        let place = self.reader.parts[part.0 as usize].place.clone();
        Answer::Later(Box::pin(async move {
            let done = async {
                store.keep(&place, sequence, kept).await?;
                match wait {
                    Some((arrived, delay)) => takeover::later(&link, &arrived, delay).await,
                    None => Ok(()),
                }
            };
            match done.await {
                Ok(()) => Settled::Applied,
                Err(error) => Settled::Failed(error),
            }
        }))
    }

    /// What is to come again at once waits here, in its place; what is to wait and lets others pass waits on the server, unless that
    /// must not send it.
    fn nack(&mut self, part: PartId, sequence: u64, delay: Duration, attempts: u32, hold: bool) -> Answer {
        let index = part.0 as usize;
        let Some(held) = &mut self.reader.parts[index].held else { return Answer::Now(Settled::Stale) };
        let Some(arrived) = held.hand.remove(&sequence) else { return Answer::Now(Settled::Stale) };
        let before = held.kept.get(&sequence).copied().unwrap_or_default();
        let due = if delay.is_zero() { 0 } else { now_millis() + u64::try_from(delay.as_millis()).unwrap_or(u64::MAX / 2) };
        let kept = Kept { attempts, due, hold, ..before };
        let wait = !hold && !delay.is_zero() && arrived.reply.is_some();
        let wait = if wait {
            Some((arrived, delay))
        } else {
            held.back(arrived);
            None
        };
        if kept == before && wait.is_none() {
            return Answer::Now(Settled::Applied);
        }
        held.kept.insert(sequence, kept);
        self.keep(part, sequence, kept, wait)
    }
}

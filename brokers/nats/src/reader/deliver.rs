//! Messages: asked for within the credit, taken in, and delivered in order.

use std::time::{Duration, Instant};

use async_nats::Subject;
use convoke_core::broker::Deliveries;
use convoke_core::{Epoch, Error, ErrorKind, PartId};

use super::session::Session;
use crate::arrival::{self, Answer, Word};
use crate::part::{Part, Taken};
use crate::takeover;

impl Session<'_> {
    pub(super) fn granted(&mut self, part: PartId, epoch: Epoch, messages: u32) {
        if self.reader.epochs.is_present(part, epoch)
            && let Some(held) = self.reader.parts.get_mut(part.0 as usize).and_then(|part| part.held.as_mut())
        {
            held.grant(messages);
        }
    }

    /// When something has to be heard of a pull: the second heartbeat is late.
    fn due(&self) -> Instant {
        Instant::now() + 2 * self.heartbeat() + Duration::from_millis(250)
    }

    /// Takes in what has come.
    pub(super) async fn arrived(&mut self) -> Result<(), Error> {
        let due = self.due();
        let mut arrived = std::mem::take(&mut self.arrived);
        for (part, epoch, message) in arrived.drain(..) {
            let Some(message) = message else {
                self.ended(part, epoch);
                continue;
            };
            if !self.reader.epochs.is_present(part, epoch) {
                continue;
            }
            let index = part.0 as usize;
            let answer = arrival::read(&self.reader.parts[index].topic, message);
            if let Some(Answer::Message(arrived)) = &answer
                && self.misses(index, arrived)
            {
                continue;
            }
            let Some(Part { topic, held: Some(held), .. }) = self.reader.parts.get_mut(index) else { continue };
            match answer {
                Some(Answer::Message(arrived)) => {
                    if let Taken::Early(arrived) = held.arrived(arrived, due) {
                        let rest = held.kept.get(&arrived.sequence).map(|kept| kept.due_in()).unwrap_or_default();
                        takeover::later(&self.link, &arrived, rest).await?;
                    }
                }
                Some(Answer::Word { word: Word::Gone, .. }) => {
                    let text =
                        format!("the consumer of group `{}` on topic `{topic}` is gone; it is made anew", self.reader.spec.group);
                    return Err(Error::new(ErrorKind::NotFound, text));
                }
                Some(Answer::Word { pull, word }) => held.word(pull, word, due),
                None => {}
            }
        }
        self.arrived = arrived;
        Ok(())
    }

    /// Delivers what there is room for, and asks for more.
    pub(super) async fn pump(&mut self) -> Result<(), Error> {
        let (due, opening) = (self.due(), self.opening);
        for index in 0..self.reader.parts.len() {
            let part = &mut self.reader.parts[index];
            let Some(held) = &mut part.held else { continue };
            if held.credit.granted() == 0 {
                continue;
            }
            let id = PartId(u32::try_from(index).unwrap_or(u32::MAX));
            let messages = held.deliverable(id, part.partition, part.mark);
            part.hands.set(held.hand.len());
            self.reader.events.deliver(Deliveries::new(id, held.epoch, messages));
            if let Some((number, batch)) = if opening { None } else { held.ask(due) } {
                let (pull, inbox) = (part.pull.clone(), format!("{}.{number}", held.inbox));
                self.pull(pull, inbox, batch).await?;
            }
        }
        Ok(())
    }

    /// Asks again for what may have been given back behind the mark.
    pub(super) async fn ask_again(&mut self) -> Result<(), Error> {
        let due = self.due();
        for index in 0..self.reader.parts.len() {
            let part = &mut self.reader.parts[index];
            let Some(held) = &mut part.held else { continue };
            if let Some((number, batch)) = held.ask_again(due) {
                let (pull, inbox) = (part.pull.clone(), format!("{}.{number}", held.inbox));
                self.pull(pull, inbox, batch).await?;
            }
        }
        Ok(())
    }

    /// Sends a pull. It ends before our lease does, so that nothing is sent to a frozen owner that another has followed.
    async fn pull(&mut self, subject: Subject, inbox: String, batch: u32) -> Result<(), Error> {
        let half = self.link.options.lease / 2;
        let left = self.tenure.map_or(half, |tenure| tenure.until().saturating_duration_since(Instant::now()));
        let expires = half.min(left).max(Duration::from_millis(50));
        // The server wants two heartbeats at least before the end.
        let heartbeat = self.heartbeat().min(expires / 3);
        let request =
            format!(r#"{{"batch":{batch},"expires":{},"idle_heartbeat":{}}}"#, expires.as_nanos(), heartbeat.as_nanos());
        self.pulls.send(subject, Some(inbox.into()), request.into()).await
    }
}

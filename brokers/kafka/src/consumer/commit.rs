//! Commits by watermark, and their answers.
//!
//! They are made by a thread of their own, one after the other, each waiting for its answer: librdkafka's binding tells nothing of what
//! becomes of the others.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use convoke_core::broker::{Commit, Progress, Settled};
use convoke_core::{BoxFuture, Error, ErrorKind, Position};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::sync::oneshot;

use super::context::Context;
use super::state::{Asked, Kept, Phase, Shared, State};
use crate::client::lock;
use crate::{errors, starts};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Shared {
    /// Commits for the runtime.
    pub(super) fn commit(&self, batch: Vec<Commit>) -> BoxFuture<'static, Vec<Settled>> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut state = lock(&self.state);
        for commit in batch {
            let (send, receive) = oneshot::channel();
            answers.push(receive);
            match state.accept(&commit, self.plan.broadcast, self.plan.metadata) {
                Ok(asked) => state.queued.push(Asked { answer: Some(send), ..asked }),
                Err(settled) => drop(send.send(settled)),
            }
        }
        drop(state);
        self.nudge();
        Box::pin(async move {
            let mut all = Vec::with_capacity(answers.len());
            for answer in answers {
                all.push(answer.await.unwrap_or(Settled::Stale));
            }
            all
        })
    }

    /// The committing thread.
    pub(super) fn commit_all(self: &Arc<Self>, consumer: &BaseConsumer<Context>) {
        let mut state = lock(&self.state);
        loop {
            if state.queued.is_empty() {
                if state.phase == Phase::Ended {
                    return;
                }
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let asked = std::mem::take(&mut state.queued);
            let ours = |asked: &Asked| state.parts[asked.part].owned && state.parts[asked.part].epoch == asked.epoch;
            // The brokers know members and no owners: what is not ours any more is for us to hold back.
            let (ours, stale): (Vec<_>, Vec<_>) = asked.into_iter().partition(ours);
            stale.into_iter().for_each(|one| one.answer(Settled::Stale));
            let lists = state.send(&ours);
            state.sent = ours;
            drop(state);
            // The answer is one for all partitions of a request, and what goes wrong with one goes wrong with its topic.
            let results: Vec<(usize, Result<(), KafkaError>)> = lists
                .into_iter()
                .map(|(topic, list)| (topic, list.and_then(|list| consumer.commit(&list, CommitMode::Sync))))
                .collect();
            state = lock(&self.state);
            for asked in std::mem::take(&mut state.sent) {
                let index = asked.part;
                let topic = self.plan.topic(state.parts[asked.part].place.0.as_str());
                let result = results.iter().find(|(other, _)| Some(*other) == topic);
                let code = result.and_then(|(_, result)| result.as_ref().err()).map(code_of);
                if state.answered(asked, code.map_or(Ok(()), Err)) {
                    state.deliver(index, &self.events);
                }
            }
            self.wake.notify_all();
        }
    }
}

fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Unknown)
}

impl State {
    /// A commit of the runtime's, ready to be sent; or its answer.
    fn accept(&mut self, commit: &Commit, broadcast: bool, most: usize) -> Result<Asked, Settled> {
        let Position::Offset(upto) = commit.upto else {
            let error = Error::new(ErrorKind::Rejected, "Kafka commits offsets (`Position::Offset`), and nothing else");
            return Err(Settled::Failed(error));
        };
        if matches!(self.phase, Phase::Dropped | Phase::Ended) {
            return Err(Settled::Stale);
        }
        let Some(part) = self.owned(commit.part, commit.epoch) else { return Err(Settled::Stale) };
        if broadcast {
            part.kept = Kept::new(upto, commit.progress.clone());
            return Err(Settled::Applied);
        }
        match self.asked(commit.part.0 as usize, upto, commit.progress.clone(), true) {
            Some(asked) if asked.text.len() > most => {
                let text = format!("the text of the commit has {} characters and Kafka takes {most}; say less", asked.text.len());
                Err(Settled::Failed(Error::new(ErrorKind::TooLarge, text)))
            }
            Some(asked) => Ok(asked),
            None => Err(Settled::Failed(Error::new(ErrorKind::Rejected, "the positions of a commit are not in order"))),
        }
    }

    /// A commit of a partition that is ours, with its text.
    pub(super) fn asked(&self, index: usize, upto: u64, progress: Progress, open: bool) -> Option<Asked> {
        let part = &self.parts[index];
        let text = progress.encode(Position::Offset(upto), starts::clock(), open)?;
        let kept = Kept::new(upto, progress);
        Some(Asked { part: index, epoch: part.epoch, kept, text, answer: None, by: Instant::now() + PATIENCE })
    }

    /// Whether nothing waits to be committed, or to be answered, of these partitions.
    pub(super) fn has_said_all(&self, parts: &[usize]) -> bool {
        !self.queued.iter().chain(&self.sent).any(|one| parts.contains(&one.part))
    }

    /// What is sent from here on, topic by topic. The last word on a partition counts.
    pub(super) fn send(&self, asked: &[Asked]) -> Vec<(usize, Result<TopicPartitionList, KafkaError>)> {
        let mut lists: Vec<(usize, Result<TopicPartitionList, KafkaError>)> = Vec::new();
        for one in asked {
            let part = &self.parts[one.part];
            self.said.says(&self.group, &part.place, &one.text);
            let index = lists.iter().position(|(topic, _)| *topic == part.topic).unwrap_or_else(|| {
                lists.push((part.topic, Ok(TopicPartitionList::new())));
                lists.len() - 1
            });
            let (name, number) = (part.place.0.as_str(), i32::try_from(part.place.1).unwrap_or(i32::MAX));
            let Ok(list) = &mut lists[index].1 else { continue };
            let mut place = match list.find_partition(name, number) {
                Some(place) => place,
                None => list.add_partition(name, number),
            };
            place.set_metadata(&one.text);
            if let Err(error) = place.set_offset(starts::offset(one.kept.upto)) {
                lists[index].1 = Err(error);
            }
        }
        lists
    }

    /// Notes what became of a commit, and says it to who waits. Returns whether it was what opens the partition.
    pub(super) fn answered(&mut self, asked: Asked, result: Result<(), Code>) -> bool {
        let part = &mut self.parts[asked.part];
        let ours = part.owned && part.epoch == asked.epoch;
        let opens = ours && result.is_ok() && !part.open;
        part.open |= opens;
        let settled = match result {
            Ok(()) if ours => {
                part.kept = asked.kept.clone();
                self.said.taken(&self.group, &part.place, &asked.text);
                Settled::Applied
            }
            Ok(()) => Settled::Applied,
            // The group has moved on. Of what is given back repeating cannot help.
            Err(Code::IllegalGeneration | Code::UnknownMemberId | Code::FencedInstanceId | Code::RebalanceInProgress)
                if !ours || part.revoking =>
            {
                Settled::Stale
            }
            Err(code) => {
                let (topic, partition) = (&part.place.0, part.place.1);
                if part.open || matches!(code, Code::RebalanceInProgress | Code::IllegalGeneration) {
                    tracing::debug!(%topic, partition, %code, "a commit has failed");
                } else {
                    tracing::warn!(%topic, partition, %code, "Kafka does not take the first commit, before which nothing is delivered; it is repeated");
                }
                Settled::Failed(failed(code))
            }
        };
        asked.answer(settled);
        opens
    }

    /// Answers those who have waited long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        for one in self.queued.iter_mut().chain(&mut self.sent).filter(|one| one.by <= now) {
            if let Some(answer) = one.answer.take() {
                let _ = answer.send(Settled::Failed(failed(Code::OperationTimedOut)));
            }
        }
    }
}

fn failed(code: Code) -> Error {
    let kind = match errors::kind(Some(code)) {
        // Whatever the brokers refuse today may be taken once the group has settled.
        ErrorKind::Rejected => ErrorKind::Connection,
        kind => kind,
    };
    Error::new(kind, "a commit was not taken; it is repeated").with_source(errors::Cause(code))
}

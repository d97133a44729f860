//! The one task that publishes.

use std::sync::Arc;

use convoke_core::broker::PublishOutcome;
use convoke_core::{Error, ErrorKind};
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::mpsc;

use super::{Batch, rejected, round};
use crate::failure;
use crate::shared::Shared;

/// A round ends with this many messages or bytes. What comes in meanwhile makes the next one.
const MESSAGES: usize = 1000;
const BYTES: usize = 8 << 20;

/// Publishes what comes in until nobody can send any more.
pub(super) async fn run(shared: Arc<Shared>, mut batches: mpsc::UnboundedReceiver<Batch>) {
    let mut sender = Sender { shared, channel: None };
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(batch) => batch,
            None => match batches.recv().await {
                Some(batch) => batch,
                None => return,
            },
        };
        let mut marks: std::collections::HashSet<_> = first.ready.iter().map(|one| one.mark.clone()).collect();
        let (mut messages, mut bytes) = (first.ready.len(), size(&first));
        let mut together = vec![first];
        while messages < MESSAGES && bytes < BYTES {
            let Ok(batch) = batches.try_recv() else { break };
            if batch.ready.iter().any(|one| marks.contains(&one.mark)) {
                next = Some(batch);
                break;
            }
            marks.extend(batch.ready.iter().map(|one| one.mark.clone()));
            (messages, bytes) = (messages + batch.ready.len(), bytes + size(&batch));
            together.push(batch);
        }
        sender.round(together).await;
    }
}

fn size(batch: &Batch) -> usize {
    batch.ready.iter().map(|one| one.payload.len()).sum()
}

struct Sender {
    shared: Arc<Shared>,
    /// With the generation of its connection.
    channel: Option<(u64, Channel)>,
}

impl Sender {
    async fn round(&mut self, together: Vec<Batch>) {
        let (mut counts, mut answers, mut ready) = (Vec::new(), Vec::new(), Vec::new());
        for Batch { ready: some, answer } in together {
            counts.push(some.len());
            answers.push(answer);
            ready.extend(some);
        }
        let mut outcomes = self.outcomes(ready).await.into_iter();
        for (count, answer) in counts.into_iter().zip(answers) {
            // Whoever does not wait any more does not want to know.
            let _ = answer.send(outcomes.by_ref().take(count).collect());
        }
    }

    async fn outcomes(&mut self, ready: Vec<super::Ready>) -> Vec<PublishOutcome> {
        let count = ready.len();
        let (generation, channel) = match self.channel().await {
            Ok(channel) => channel,
            Err(error) => return (0..count).map(|_| rejected(again(&error))).collect(),
        };
        let within = self.shared.options.confirm;
        let topics: Vec<_> = ready.iter().map(|one| one.topic.clone()).collect();
        let mut state = self.shared.publishing.watch();
        // A connection that ends answers for everything at once; the client would not until it is closed.
        let gone = async move {
            let state = state.wait_for(|state| state.generation != generation || state.connection.is_none()).await;
            let reason = state.ok().and_then(|state| state.reason.clone());
            reason.unwrap_or_else(|| "the connection was lost".to_owned())
        };
        let why = tokio::select! {
            biased;
            (outcomes, failed) = round::transmit(&channel, ready) => {
                if let Some(error) = failed {
                    self.channel = None;
                    if failure::code(&error) == Some(404) {
                        self.shared.forget_topics(topics.iter());
                    }
                }
                return outcomes;
            }
            why = gone => why,
            () = tokio::time::sleep(within) => {
                self.shared.publishing.fail(generation, "a confirmation did not come");
                format!("no confirmation came within {within:?}")
            }
        };
        self.channel = None;
        (0..count).map(|_| round::unknown(&why)).collect()
    }

    /// A channel with confirmations on the present connection, once the server takes anything.
    async fn channel(&mut self) -> Result<(u64, Channel), Error> {
        let mut state = self.shared.publishing.watch();
        let within = self.shared.options.confirm;
        if tokio::time::timeout(within, state.wait_for(|state| state.blocked.is_none())).await.is_err() {
            return Err(Error::new(ErrorKind::Connection, "RabbitMQ is short of memory or disk, and takes nothing for now"));
        }
        let (generation, connection) = self.shared.publishing.connection()?;
        if let Some((of, channel)) =
            self.channel.as_ref().filter(|(of, channel)| *of == generation && channel.status().connected())
        {
            return Ok((*of, channel.clone()));
        }
        let opened = async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        let channel = self.shared.ask("open a channel", opened).await?;
        self.channel = Some((generation, channel.clone()));
        Ok((generation, channel))
    }
}

/// The same for each message of a round.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.to_string())
}

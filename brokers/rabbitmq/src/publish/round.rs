//! One round of publishing: sent together, and answered for together.
//!
//! The client hands a message that came back to whichever confirmation resolves next. So the returns of a round are collected, and who
//! was returned is known when the last confirmation is there: by the message's mark, which is unique in its round.

use std::collections::HashSet;

use convoke_core::broker::PublishOutcome;
use convoke_core::{Error, ErrorKind};
use futures_util::future::join_all;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, PublisherConfirm};

use super::Ready;
use crate::failure;

/// Cuts where a mark comes again.
pub(super) fn split(ready: Vec<Ready>) -> Vec<Vec<Ready>> {
    let mut parts: Vec<Vec<Ready>> = Vec::new();
    let mut seen = HashSet::new();
    for one in ready {
        if !seen.insert(one.mark.clone()) {
            seen.clear();
            seen.insert(one.mark.clone());
            parts.push(Vec::new());
        }
        match parts.last_mut() {
            Some(part) => part.push(one),
            None => parts.push(vec![one]),
        }
    }
    parts
}

/// Sends them on a channel that nobody else uses: with two tasks on one channel, the client mixes up their confirmations.
pub(super) async fn transmit(channel: &Channel, ready: Vec<Ready>) -> (Vec<PublishOutcome>, Option<lapin::Error>) {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let sent = join_all(ready.iter().map(|one| {
        let (exchange, key) = (one.topic.as_str().into(), one.key.as_str().into());
        channel.basic_publish(exchange, key, options, &one.payload, one.properties.clone())
    }))
    .await;
    let answers = join_all(sent.into_iter().map(confirmed)).await;
    let mut returned = HashSet::new();
    let mut failed = None;
    let mut confirmations = Vec::with_capacity(answers.len());
    for answer in answers {
        let (confirmation, back) = match answer {
            Ok(Confirmation::Ack(back)) => (Ok(true), back),
            Ok(Confirmation::Nack(back)) => (Ok(false), back),
            Ok(Confirmation::NotRequested) => (Err("confirmations are off".to_owned()), None),
            Err(error) => {
                let text = failure::said(&error);
                failed.get_or_insert(error);
                (Err(text), None)
            }
        };
        let mark = back.and_then(|back| back.delivery.properties.message_id().as_ref().map(|id| id.as_str().to_owned()));
        returned.extend(mark);
        confirmations.push(confirmation);
    }
    let outcome = |(one, confirmation): (Ready, Result<bool, String>)| match confirmation {
        // Its return may be with one of those that failed.
        Ok(true) if failed.is_some() && one.require_route && !returned.contains(&one.mark) => {
            unknown("the channel ended meanwhile")
        }
        Ok(true) => {
            let routed = !returned.contains(&one.mark);
            one.confirmed(routed)
        }
        Ok(false) => {
            let error =
                Error::new(ErrorKind::Rejected, format!("RabbitMQ refuses a message for `{}`: is a queue full?", one.topic));
            PublishOutcome::Rejected { retryable: true, error }
        }
        Err(why) => unknown(&why),
    };
    (ready.into_iter().zip(confirmations).map(outcome).collect(), failed)
}

async fn confirmed(sent: lapin::Result<PublisherConfirm>) -> lapin::Result<Confirmation> {
    sent?.await
}

pub(super) fn unknown(why: &str) -> PublishOutcome {
    PublishOutcome::Unknown(Error::new(ErrorKind::Unknown, format!("RabbitMQ did not say whether it has the message: {why}")))
}

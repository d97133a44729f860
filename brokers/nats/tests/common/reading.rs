//! What tests share that read as a runtime does.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use convoke_core::Incoming;
use convoke_core::broker::{Broker, Settle, Settlement, Subscription, SubscriptionEvent};
use convoke_nats::async_nats::Client;

pub(crate) fn client(broker: &Arc<dyn Broker>) -> &Client {
    broker.native().downcast_ref().unwrap()
}

/// Takes so many messages, and settles them as they come or does not. What comes again after the connection was lost counts once.
pub(crate) async fn take(subscription: &mut Subscription, count: usize, settled: bool) -> Vec<Incoming> {
    let mut taken: Vec<Incoming> = Vec::new();
    let wait = async {
        while taken.len() < count {
            match poll_fn(|cx| subscription.events.as_mut().poll_next(cx)).await.expect("it goes on") {
                SubscriptionEvent::Assigned { part, epoch, .. } => subscription.control.grant(part, epoch, 100, u64::MAX),
                SubscriptionEvent::Deliveries(deliveries) => {
                    if settled {
                        let done = |one: &Incoming| Settlement::new(one.token.clone(), Settle::Ack);
                        subscription.control.settle(deliveries.messages.iter().map(done).collect()).await;
                        let count = u32::try_from(deliveries.messages.len()).unwrap();
                        subscription.control.grant(deliveries.part, deliveries.epoch, count, u64::MAX);
                    }
                    for one in deliveries.messages {
                        match taken.iter_mut().find(|other| other.position == one.position) {
                            Some(before) => *before = one,
                            None => taken.push(one),
                        }
                    }
                }
                gap @ SubscriptionEvent::Gap { .. } => panic!("{gap:?}"),
                _ => {}
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    let begin =
        |one: &Incoming| String::from_utf8_lossy(&one.message.payload()[..one.message.payload().len().min(8)]).into_owned();
    assert!(waited.is_ok(), "of {count} only these came: {:?}", taken.iter().map(begin).collect::<Vec<_>>());
    taken
}

//! The broker under many threads in real time: nobody waits for ever, nothing is lost.

use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convoke_core::broker::{
    Broker, EnsureMode, PublishOutcome, Settle, Settled, Settlement, SubscribeSpec, SubscriptionEvent, TopicSpec, Topology,
};
use convoke_core::{Message, Outgoing, Position, Topic};
use convoke_memory::MemoryBroker;
use tokio::sync::Notify;

const MESSAGES: usize = 20_000;

#[derive(Default)]
struct Done {
    seen: Mutex<HashSet<(u32, Position)>>,
    all: Notify,
}

/// Reads with little credit, so that there is much waiting and waking; leaves after so many messages.
async fn read(broker: Arc<MemoryBroker>, done: Arc<Done>, leave_after: usize) {
    let subscription = broker.subscribe(SubscribeSpec::new("g", vec![Topic::from("t")])).await.unwrap();
    let (mut events, control) = (subscription.events, subscription.control);
    let mut read = 0;
    while let Some(event) = poll_fn(|cx| events.as_mut().poll_next(cx)).await {
        match event {
            SubscriptionEvent::Assigned { part, epoch, .. } => control.grant(part, epoch, 3, 1 << 20),
            SubscriptionEvent::Revoking { part, epoch, .. } => control.revoked(part, epoch),
            SubscriptionEvent::Deliveries(deliveries) => {
                let acks = deliveries.messages.iter().map(|m| Settlement::new(m.token.clone(), Settle::Ack)).collect();
                let answers = control.settle(acks).await;
                read += deliveries.messages.len();
                {
                    let mut seen = done.seen.lock().unwrap();
                    for (incoming, answer) in deliveries.messages.iter().zip(answers) {
                        if matches!(answer, Settled::Applied) {
                            assert!(seen.insert((incoming.partition, incoming.position)), "settled twice");
                        }
                    }
                    if seen.len() == MESSAGES {
                        done.all.notify_waiters();
                    }
                }
                control.grant(deliveries.part, deliveries.epoch, u32::try_from(deliveries.messages.len()).unwrap(), 1 << 20);
                if read > leave_after {
                    control.close().await;
                }
                tokio::task::yield_now().await;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_and_publishers_on_many_threads_lose_nothing() {
    let broker = Arc::new(MemoryBroker::new());
    let mut topology = Topology::default();
    topology.topics.push(TopicSpec::new("t"));
    broker.ensure(&topology, EnsureMode::Create).await.unwrap();
    let done = Arc::new(Done::default());
    let readers = [usize::MAX, usize::MAX, 500, 2000].map(|leave| tokio::spawn(read(broker.clone(), done.clone(), leave)));
    let publishers = (0..4).map(|n| {
        let broker = broker.clone();
        tokio::spawn(async move {
            for batch in 0..MESSAGES / 4 / 10 {
                let message = |i| Outgoing::new(Message::builder("t").key(format!("{n} {batch} {i}")).build());
                let outcomes = broker.publish((0..10).map(message).collect()).await;
                assert!(outcomes.iter().all(|outcome| matches!(outcome, PublishOutcome::Confirmed(_))));
                tokio::task::yield_now().await;
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let finished = async {
        loop {
            let all = done.all.notified();
            tokio::pin!(all);
            all.as_mut().enable();
            if done.seen.lock().unwrap().len() == MESSAGES {
                break;
            }
            all.await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), finished).await.expect("somebody waits for ever");
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert!(broker.lag("g", &[Topic::from("t")]).await.unwrap().is_zero());
    broker.close(Duration::ZERO).await;
    for reader in readers {
        reader.await.unwrap();
    }
}

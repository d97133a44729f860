//! Random operations, from a seed: whatever happens, nothing is lost, order holds, and in the end nothing is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_core::broker::{Broker, Fault, Settle, Settled, SubscriptionEvent};
use convoke_core::{Incoming, Topic};

use crate::harness::*;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

#[derive(Default)]
struct Book {
    /// For each partition, the offset that is next to be delivered for the first time.
    next: BTreeMap<u32, u64>,
    /// How often each message was delivered.
    deliveries: BTreeMap<(u32, u64), u32>,
    done: BTreeSet<(u32, u64)>,
    /// Not to come before.
    due: BTreeMap<(u32, u64), tokio::time::Instant>,
    published: u32,
}

impl Book {
    fn delivered(&mut self, incoming: &Incoming) {
        let place = (incoming.partition, offset(incoming));
        let count = self.deliveries.entry(place).or_default();
        *count += 1;
        assert_eq!(incoming.deliveries, *count, "every delivery is counted: {place:?}");
        assert!(!self.done.contains(&place), "settled and delivered again: {place:?}");
        let next = self.next.entry(place.0).or_default();
        if *count == 1 {
            assert_eq!(place.1, *next, "first deliveries are in order and leave nothing out");
            *next += 1;
        }
        if let Some(due) = self.due.remove(&place) {
            assert!(tokio::time::Instant::now() >= due, "early: {place:?}");
        }
    }
}

async fn soak(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let broker = broker(1 + (seed % 5) as u32).await;
    let mut book = Book::default();
    let mut readers: Vec<(Reader, Vec<Incoming>)> = vec![(Reader::join(&broker).await, Vec::new())];
    for _ in 0..400 {
        match dice.below(20) {
            0..=5 => {
                let count = 1 + dice.below(20) as u32;
                let range = book.published..book.published + count;
                let outcomes = broker.publish(range.map(|n| message(&format!("key {}", n % 7), &n.to_string())).collect()).await;
                if outcomes.iter().all(|outcome| rejected(outcome).is_none()) {
                    book.published += count;
                }
            }
            6 if readers.len() < 4 => readers.push((Reader::join(&broker).await, Vec::new())),
            7 if readers.len() > 1 => {
                let (reader, _) = readers.remove(dice.below(readers.len() as u64) as usize);
                if dice.below(2) == 0 {
                    reader.control.close().await;
                }
            }
            8 => pass(Duration::from_millis(dice.below(20_000))).await,
            9 => {
                let group = GROUP.to_owned();
                let fault = match dice.below(5) {
                    0 => Fault::Cut { down: Duration::from_millis(dice.below(3000)) },
                    1 => Fault::Revoke { group, topic: Topic::from(TOPIC), within: None },
                    2 => Fault::Revoke { group, topic: Topic::from(TOPIC), within: Some(secs(1)) },
                    3 => Fault::SettleLost { group, count: 2 },
                    _ => Fault::Repeat { group, count: 3 },
                };
                broker.faults().unwrap().inject(fault).unwrap();
            }
            10..=14 => {
                let index = dice.below(readers.len() as u64) as usize;
                let (reader, held) = &mut readers[index];
                for incoming in reader.messages() {
                    book.delivered(&incoming);
                    held.push(incoming);
                }
            }
            _ => {
                let index = dice.below(readers.len() as u64) as usize;
                let (reader, held) = &mut readers[index];
                for _ in 0..dice.below(30).min(held.len() as u64) {
                    let incoming = held.remove(dice.below(held.len() as u64) as usize);
                    settle(&mut dice, reader, &incoming, &mut book).await;
                }
            }
        }
    }
    finish(&broker, readers, book).await;
}

async fn settle(dice: &mut Dice, reader: &Reader, incoming: &Incoming, book: &mut Book) {
    let delay = Duration::from_millis(dice.below(5000));
    let how = match dice.below(8) {
        0 => nack(delay, 1, true),
        1 => nack(delay, 1, false),
        2 => Settle::Extend,
        3 => Settle::Mark { deaths: 1 },
        _ => Settle::Ack,
    };
    let place = (incoming.partition, offset(incoming));
    if matches!(reader.settle(incoming, how).await, Settled::Applied) {
        match how {
            Settle::Ack => assert!(book.done.insert(place)),
            Settle::Nack { delay, hold: false, .. } => {
                book.due.insert(place, tokio::time::Instant::now() + delay);
            }
            _ => {}
        }
    }
}

async fn finish(broker: &convoke_memory::MemoryBroker, mut readers: Vec<(Reader, Vec<Incoming>)>, mut book: Book) {
    for _ in 0..30 {
        pass(secs(10)).await;
        for (reader, _) in &mut readers {
            for event in reader.events() {
                let SubscriptionEvent::Deliveries(deliveries) = event else { continue };
                for incoming in deliveries.messages {
                    // A repeated delivery may be there twice, and the first settles it.
                    if !book.done.contains(&(incoming.partition, offset(&incoming))) {
                        book.delivered(&incoming);
                    }
                    if matches!(reader.settle(&incoming, Settle::Ack).await, Settled::Applied) {
                        book.done.insert((incoming.partition, offset(&incoming)));
                    }
                }
            }
        }
    }
    assert_eq!(book.done.len(), book.published as usize, "everything was delivered and settled");
    assert!(lag(broker).await.is_zero(), "{:?}", lag(broker).await);
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_nothing_is_lost_and_order_holds() {
    for seed in 0..100 {
        soak(seed).await;
    }
}

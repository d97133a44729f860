//! An application with dead letters, and the tool on its broker.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::Arc;

use convoke::broker::Broker;
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use convoke_cli::{Exit, World};
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = who)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) who: String,
    pub(crate) number: u64,
}

/// Whether the bank answers.
#[derive(Clone, Default)]
pub(crate) struct Bank(Arc<std::sync::atomic::AtomicBool>);

#[handler(group = "bills", retry(attempts = 1))]
async fn bill(order: Order, State(bank): State<Bank>) -> Result<(), BoxError> {
    if bank.0.load(std::sync::atomic::Ordering::Relaxed) {
        return Ok(());
    }
    Err(permanent(format!("the bank does not know {}", order.who)).into())
}

impl Bank {
    pub(crate) fn answers(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// An application on a broker, whose group `bills` has given so many messages up, and gives everything up until the bank answers.
pub(crate) async fn dead_letters(count: u64, on_broker: impl FnOnce(App) -> App) -> (AppHandle, Bank) {
    let bank = Bank::default();
    let app = on_broker(App::new("shop").state(bank.clone())).quiet().start().await.unwrap();
    for number in 0..count {
        app.publisher().publish(&Order { who: format!("k{number}"), number }).await.unwrap();
    }
    app.settled().await;
    (app, bank)
}

/// The same, on an embedded broker.
pub(crate) struct Shop {
    pub(crate) app: AppHandle,
    pub(crate) bank: Bank,
    broker: MemoryBroker,
}

impl Shop {
    pub(crate) async fn with_dead_letters(count: u64) -> Self {
        let broker = MemoryBroker::new();
        let (app, bank) = dead_letters(count, |app| app.broker(Arc::new(broker.another()))).await;
        Self { app, bank, broker }
    }

    pub(crate) fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.another())
    }

    pub(crate) fn the_bank_answers(&self) {
        self.bank.answers();
    }
}

/// Runs the tool with these words on this broker: how it ended, and what it wrote to both streams.
pub(crate) async fn convoke(broker: &Arc<dyn Broker>, words: &str) -> (Exit, String, String) {
    run(words, Some(Arc::clone(broker)), None).await.0
}

/// The same with somebody at the terminal, who answers so; also what was asked.
pub(crate) async fn asked(broker: &Arc<dyn Broker>, words: &str, answer: bool) -> ((Exit, String, String), Vec<String>) {
    run(words, Some(Arc::clone(broker)), Some(answer)).await
}

/// Runs the tool without a broker but the one that the words name.
pub(crate) async fn alone(words: &str) -> (Exit, String, String) {
    run(words, None, None).await.0
}

async fn run(words: &str, broker: Option<Arc<dyn Broker>>, answer: Option<bool>) -> ((Exit, String, String), Vec<String>) {
    let (mut out, mut err, mut questions) = (Vec::new(), Vec::new(), Vec::new());
    let ask = |question: &str| {
        questions.push(question.to_owned());
        answer
    };
    let mut world = World::of(&mut out, &mut err, ask);
    if let Some(broker) = broker {
        world = world.with_broker(broker);
    }
    let words = std::iter::once("convoke").chain(words.split(' ').filter(|word| !word.is_empty()));
    let exit = convoke_cli::run(words, &mut world).await;
    drop(world);
    ((exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap()), questions)
}

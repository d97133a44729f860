//! Dead letters go back to the group that gave up on them, and to no other; and what goes wrong in between loses none.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convoke::broker::{Broker, Fault, Faults as _};
use convoke::dead::{DeadLetters, Fate, Filter, Handled, MAX_REPLAYS, Options, Refusal, Report};
use convoke::memory::MemoryBroker;
use convoke::prelude::*;
use convoke::{DeadReason, Message, names};
use serde::{Deserialize, Serialize};
use support::{Journal, Seeded, header, ms, own_headers};

#[event(topic = "redrive.orders", key = who)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    who: String,
    number: u64,
}

const DEAD: &str = "redrive.orders.bills.dead";
const PLACE: &str = "redrive.orders.bills.retry";

/// What a handler was given: handler, id, number, attempt, topic.
type Seen = (&'static str, String, u64, u32, String);

#[derive(Clone)]
struct World {
    seen: Journal<Seen>,
    /// Whether the bank answers.
    bank: Arc<AtomicBool>,
}

#[handler(group = "bills", retry(attempts = 2, backoff = "10ms..10ms", jitter = 0))]
async fn bill(order: Order, meta: Meta<'_>, State(world): State<World>) -> Result<(), BoxError> {
    world.seen.note(("bill", meta.id().into_owned(), order.number, meta.attempt(), meta.topic().to_string()));
    if world.bank.load(Ordering::Relaxed) {
        return Ok(());
    }
    if order.number.is_multiple_of(2) { Err("the bank does not answer".into()) } else { Err(permanent("no account").into()) }
}

#[handler(group = "ships")]
async fn ship(order: Order, meta: Meta<'_>, State(world): State<World>) {
    world.seen.note(("ship", meta.id().into_owned(), order.number, meta.attempt(), meta.topic().to_string()));
}

/// An application whose group `bills` has given up on everything.
struct Shop {
    app: AppHandle,
    broker: MemoryBroker,
    world: World,
}

impl Shop {
    async fn open() -> Self {
        Self::on(MemoryBroker::new()).await
    }

    async fn on(broker: MemoryBroker) -> Self {
        let world = World { seen: Journal::new(), bank: Arc::default() };
        let app = App::new("redrive").only(["bill", "ship"]).state(world.clone()).broker(Arc::new(broker.another())).quiet();
        Self { app: app.start().await.unwrap(), broker, world }
    }

    async fn with_dead_letters(count: u64) -> Self {
        let shop = Self::open().await;
        for number in 0..count {
            shop.app.publisher().publish(&Order { who: format!("k{}", number % 23), number }).await.unwrap();
        }
        shop.app.settled().await;
        assert_eq!(shop.broker.messages(DEAD).len() as u64, count);
        shop
    }

    fn dead(&self) -> DeadLetters {
        DeadLetters::of(Arc::new(self.broker.another()))
    }

    fn the_bank_answers(&self) {
        self.world.bank.store(true, Ordering::Relaxed);
    }

    async fn redrive(&self, options: Options) -> (Report, Vec<String>) {
        let mut told = Vec::new();
        let report = self.dead().redrive(DEAD, &options, |one| told.push(word(one).to_owned())).await.unwrap();
        (report, told)
    }

    /// The ids of the letters that wait.
    async fn waiting(&self) -> BTreeSet<String> {
        let listing = self.dead().list(DEAD, &Filter::new(), u64::MAX).await.unwrap();
        assert!(listing.complete);
        listing.letters.iter().map(|letter| letter.id()).collect()
    }

    fn seen_by(&self, handler: &str) -> Vec<Seen> {
        self.world.seen.items().into_iter().filter(|seen| seen.0 == handler).collect()
    }
}

fn word(handled: &Handled) -> &'static str {
    match handled.fate {
        Fate::SentBack { .. } => "sent",
        Fate::Purged => "purged",
        Fate::Refused(_) => "refused",
        Fate::Failed(_) => "failed",
        Fate::SentBackAndKept { .. } => "kept",
        _ => "?",
    }
}

fn ids(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.id().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn letters_go_back_to_the_group_that_gave_up_on_them_and_to_no_other() {
    let shop = Shop::with_dead_letters(10).await;
    let shipped = shop.seen_by("ship").len();
    let first = shop.seen_by("bill");
    shop.the_bank_answers();
    let (report, told) = shop.redrive(Options::new()).await;
    assert_eq!((report.seen, report.done, report.left, report.refused, report.failed), (10, 10, 0, 0, 0));
    assert!(report.complete && report.stopped.is_none(), "{report:?}");
    assert_eq!(told, vec!["sent"; 10]);
    shop.app.settled().await;
    assert_eq!(shop.seen_by("ship").len(), shipped, "the other group has done its part");
    let again = shop.seen_by("bill").split_off(first.len());
    assert_eq!(again.len(), 10);
    for (_, id, number, attempt, topic) in &again {
        assert!(first.iter().any(|(_, other, same, ..)| other == id && same == number), "{id} is unknown");
        assert_eq!((*attempt, topic.as_str()), (1, "redrive.orders"), "all its attempts, as a message of its topic");
    }
    assert_eq!(shop.waiting().await, BTreeSet::new());
    assert!(shop.app.drain().await.clean);
}

#[tokio::test(start_paused = true)]
async fn a_letter_goes_back_byte_for_byte_less_the_headers_of_its_death() {
    let shop = Shop::open().await;
    let message = Message::builder("redrive.orders").key(vec![0xff, 0x00]).header("tenant", "acme").header("ce-id", "id-1");
    let mut message = message.header("ce-type", "redrive.orders.v1").payload(b"{ \"broken\xff".as_slice());
    message.headers_mut().append("tenant", vec![0xfe]);
    let message = message.build();
    shop.app.publisher().publish_message(message.clone()).await.unwrap();
    shop.app.settled().await;
    let dead = shop.broker.messages(DEAD).remove(0);
    assert_eq!(header(&dead, names::DEAD_REASON), Some("undecodable"));
    shop.redrive(Options::new()).await;
    let back = shop.broker.messages(PLACE).remove(0);
    assert_eq!((back.payload(), back.key()), (message.payload(), message.key()));
    let mut expected = own_headers(&message);
    expected.push((names::REPLAY_COUNT.to_owned(), b"1".to_vec()));
    assert_eq!(back.headers().iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_bare_message_keeps_its_id_through_death_and_return() {
    let shop = Shop::open().await;
    let bare = Message::builder("redrive.orders").key("ada").payload(r#"{"who":"ada","number":1}"#).build();
    shop.app.publisher().publish_message(bare).await.unwrap();
    shop.app.settled().await;
    let id = shop.seen_by("bill")[0].1.clone();
    assert_eq!(shop.waiting().await, BTreeSet::from([id.clone()]), "it is shown by the id that its handler knew");
    for _ in 0..2 {
        shop.redrive(Options::new()).await;
        shop.app.settled().await;
    }
    assert_eq!(shop.seen_by("bill").iter().map(|seen| seen.1.clone()).collect::<Vec<_>>(), [id.clone(), id.clone(), id]);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_meant_goes_back_and_the_rest_stays() {
    let shop = Shop::with_dead_letters(10).await;
    let all = shop.waiting().await;
    shop.the_bank_answers();
    let odd =
        Filter::new().header("ce-type", "redrive.orders.v1").handler("bill").group("bills").reason(DeadReason::HandlerError);
    let id = all.first().unwrap().clone();
    for (filter, count) in [
        (odd.clone().newer_than(Duration::from_secs(3600)), 10),
        (odd.clone().older_than(Duration::from_secs(3600)), 0),
        (Filter::new().reason(DeadReason::Timeout).reason(DeadReason::Panic), 0),
        (Filter::new().group("ships"), 0),
        (Filter::new().handler("ship").handler("bill"), 10),
        (Filter::new().header("ce-type", "redrive.orders.v2"), 0),
        (Filter::new().id(id.clone()), 1),
    ] {
        assert_eq!(shop.dead().list(DEAD, &filter, 100).await.unwrap().letters.len(), count, "{filter:?}");
    }
    let (report, _) = shop.redrive(Options::new().filter(Filter::new().id(id.clone()))).await;
    assert_eq!((report.seen, report.done, report.left, report.complete), (10, 1, 9, true));
    let (report, _) = shop.redrive(Options::new().limit(4)).await;
    assert_eq!((report.done, report.complete), (4, false));
    let (report, _) = shop.redrive(Options::new().limit(4).filter(Filter::new().group("nobody"))).await;
    assert_eq!((report.done, report.left, report.complete), (0, 5, true));
    let back: BTreeSet<_> = ids(&shop.broker.messages(PLACE)).into_iter().collect();
    assert_eq!(back.len(), 5);
    assert_eq!(shop.waiting().await, &all - &back);
    shop.app.settled().await;
    shop.redrive(Options::new()).await;
    let mut back = ids(&shop.broker.messages(PLACE));
    back.sort_unstable();
    assert_eq!(back, all.into_iter().collect::<Vec<_>>(), "each went back, and once");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let shop = Shop::with_dead_letters(6).await;
    let all = shop.waiting().await;
    let (dry, told) = shop.redrive(Options::new().limit(4).dry_run()).await;
    assert_eq!((dry.done, told.len()), (4, 4));
    let report = shop.dead().purge(DEAD, &Options::new().dry_run(), |_| {}).await.unwrap();
    assert_eq!(report.done, 6);
    assert!(shop.broker.messages(PLACE).is_empty());
    assert_eq!(shop.waiting().await, all);
    let (wet, _) = shop.redrive(Options::new().limit(4)).await;
    assert_eq!((wet.done, wet.seen), (dry.done, dry.seen), "as it was said");
}

#[tokio::test(start_paused = true)]
async fn what_dies_again_and_again_is_not_sent_back_for_ever() {
    let shop = Shop::with_dead_letters(2).await;
    for round in 1..=MAX_REPLAYS {
        assert_eq!(shop.redrive(Options::new()).await.0.done, 2, "round {round}");
        shop.app.settled().await;
        let counts = shop.broker.messages(DEAD).into_iter().map(|letter| header(&letter, names::REPLAY_COUNT).map(str::to_owned));
        assert_eq!(counts.filter(|count| *count == Some(round.to_string())).count(), 2);
    }
    let mut refusals = Vec::new();
    let tell = |one: &Handled| refusals.extend(if let Fate::Refused(why) = &one.fate { Some(why.clone()) } else { None });
    let report = shop.dead().redrive(DEAD, &Options::new(), tell).await.unwrap();
    assert_eq!((report.done, report.refused, report.complete), (0, 2, true));
    assert_eq!(refusals, vec![Refusal::TooManyReplays { replays: MAX_REPLAYS }; 2]);
    assert_eq!(shop.waiting().await.len(), 2, "they stay");
    let (report, _) = shop.redrive(Options::new().max_replays(MAX_REPLAYS + 1)).await;
    assert_eq!(report.done, 2);
}

#[tokio::test(start_paused = true)]
async fn what_has_nowhere_to_go_stays_and_says_why() {
    let shop = Shop::open().await;
    let letter = |topic: &'static str| Message::builder(DEAD).header(names::DEAD_TOPIC, topic).header(names::DEAD_GROUP, "bills");
    shop.app.publisher().publish_message(Message::builder(DEAD).payload("what is this").build()).await.unwrap();
    shop.app.publisher().publish_message(letter("elsewhere").build()).await.unwrap();
    let mut told = Vec::new();
    let options = Options::new();
    let tell = |one: &Handled| told.push(if let Fate::Refused(why) = &one.fate { why.to_string() } else { word(one).to_owned() });
    assert_eq!(shop.dead().redrive(DEAD, &options, tell).await.unwrap().refused, 2);
    assert!(told.iter().any(|why| why.contains("nowhere to send it")), "{told:?}");
    assert!(told.iter().any(|why| why.contains("no topic `elsewhere.bills.retry`; start the group's application")), "{told:?}");
    assert_eq!(shop.dead().list(DEAD, &Filter::new(), 10).await.unwrap().letters.len(), 2);
    let error = shop.dead().redrive("redrive.orders.nobody.dead", &options, |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), convoke::ErrorKind::NotFound);
    assert!(shop.broker.topics().await.unwrap().iter().all(|(topic, _)| !topic.as_str().contains("nobody")), "none is made");
}

#[tokio::test(start_paused = true)]
async fn what_is_thrown_away_is_gone_and_nothing_else_is() {
    let shop = Shop::with_dead_letters(6).await;
    let all = shop.waiting().await;
    let first = all.first().unwrap().clone();
    let only = Options::new().filter(Filter::new().id(first.clone()));
    let mut told = Vec::new();
    let report = shop.dead().purge(DEAD, &only, |one| told.push(one.letter.id())).await.unwrap();
    assert_eq!((report.done, report.left, told), (1, 5, vec![first.clone()]));
    assert_eq!(shop.waiting().await, all.into_iter().filter(|id| *id != first).collect());
    assert_eq!(shop.dead().topic(DEAD).await.unwrap().letters, Some(5));
    assert!(shop.broker.messages(PLACE).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_is_not_confirmed_leaves_the_letter_where_it_is() {
    let shop = Shop::with_dead_letters(3).await;
    shop.the_bank_answers();
    shop.broker.inject(Fault::PublishUnknown { topic: PLACE.into(), count: 10_000, stored: false }).unwrap();
    let (report, told) = shop.redrive(Options::new()).await;
    assert_eq!((report.done, report.failed, report.complete, told), (0, 1, false, vec!["failed".to_owned()]));
    assert!(report.stopped.is_some(), "the next would fare no better");
    assert_eq!(shop.waiting().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_is_lost_is_repeated_and_the_publish_is_not() {
    let shop = Shop::with_dead_letters(3).await;
    shop.broker.inject(Fault::SettleLost { group: names::REDRIVE_GROUP.to_owned(), count: 2 }).unwrap();
    assert_eq!(shop.redrive(Options::new()).await.0.done, 3);
    assert_eq!(shop.broker.messages(PLACE).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cut_in_the_middle_is_waited_for() {
    let shop = Shop::with_dead_letters(20).await;
    shop.the_bank_answers();
    let dead = shop.dead();
    let mut count = 0;
    let options = Options::new();
    let cut = |_: &Handled| {
        count += 1;
        if count == 7 {
            shop.broker.inject(Fault::Cut { down: ms(3000) }).unwrap();
        }
    };
    let report = dead.redrive(DEAD, &options, cut).await.unwrap();
    assert_eq!((report.done, report.complete), (20, true), "{report:?}");
    assert_eq!(shop.broker.messages(PLACE).len(), 20);
}

#[tokio::test(start_paused = true)]
async fn where_positions_are_committed_too_many_gaps_stop_the_work_before_anything_is_repeated() {
    let options = convoke::memory::Options::default().guise(convoke::memory::Guise::Kafka).partitions(1).progress(400);
    let shop = Shop::on(MemoryBroker::with(options).unwrap()).await;
    for number in 0..1000 {
        shop.app
            .publisher()
            .publish(&Order { who: "ada".into(), number })
            .header("half", (number % 2).to_string())
            .await
            .unwrap();
    }
    shop.app.settled().await;
    let all = shop.waiting().await;
    shop.the_bank_answers();
    let half = Options::new().filter(Filter::new().header("half", "1"));
    let (report, _) = shop.redrive(half.clone()).await;
    assert!(report.done > 50 && report.done < 500 && !report.complete, "{report:?}");
    assert!(report.stopped.unwrap().to_string().contains("no room for more gaps"));
    assert_eq!(shop.waiting().await.len() as u64, 1000 - report.done, "what was sent back is remembered");
    let (rest, _) = shop.redrive(Options::new()).await;
    assert_eq!((rest.done, rest.complete), (1000 - report.done, true));
    let back = ids(&shop.broker.messages(PLACE));
    assert_eq!((back.len(), back.into_iter().collect::<BTreeSet<_>>()), (1000, all), "each went back, and once");
}

#[tokio::test(start_paused = true)]
async fn two_at_once_share_the_letters_and_say_that_they_do() {
    let shop = Shop::with_dead_letters(600).await;
    shop.the_bank_answers();
    shop.broker.inject(Fault::PublishSlow { topic: PLACE.into(), count: 600, by: ms(1) }).unwrap();
    let ((a, _), (b, _)) = tokio::join!(shop.redrive(Options::new()), shop.redrive(Options::new()));
    assert!(a.done > 0 && b.done > 0, "{a:?}\n{b:?}");
    assert!(b.elsewhere > 0 && !b.complete, "the other has the rest: {a:?}\n{b:?}");
    shop.redrive(Options::new()).await;
    let back = ids(&shop.broker.messages(PLACE));
    assert_eq!(back.iter().collect::<BTreeSet<_>>().len(), 600);
    assert!(back.len() <= 602, "at most what each had in hand is repeated: {}", back.len());
    assert_eq!(shop.waiting().await, BTreeSet::new());
}

#[tokio::test(start_paused = true)]
async fn who_is_killed_at_any_step_goes_on_where_it_was_and_repeats_one_at_most() {
    const LETTERS: u64 = 8;
    // A publish takes 10 ms: killed at an odd step the letter is stored and not settled, at an even one it may be either.
    for step in 0..=(2 * LETTERS) {
        let shop = Shop::with_dead_letters(LETTERS).await;
        let all = shop.waiting().await;
        shop.the_bank_answers();
        shop.broker.inject(Fault::PublishSlow { topic: PLACE.into(), count: 1000, by: ms(10) }).unwrap();
        let killed = tokio::time::timeout(ms(5 * step), shop.redrive(Options::new())).await;
        assert_eq!(killed.is_ok(), step == 2 * LETTERS && killed.is_ok());
        let (report, _) = shop.redrive(Options::new()).await;
        assert!(report.complete, "step {step}: {report:?}");
        all_back_and_few_twice(&shop, &all, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_killed_again_and_again_comes_to_an_end_and_repeats_one_for_each_death() {
    for seed in 0..50 {
        let mut random = Seeded(seed);
        let shop = Shop::with_dead_letters(12).await;
        let all = shop.waiting().await;
        shop.the_bank_answers();
        shop.broker.inject(Fault::PublishSlow { topic: PLACE.into(), count: 1000, by: ms(10) }).unwrap();
        let mut deaths = 0;
        while tokio::time::timeout(ms(1 + random.below(60)), shop.redrive(Options::new())).await.is_err() {
            deaths += 1;
        }
        all_back_and_few_twice(&shop, &all, deaths).await;
    }
}

/// Each of these is in the group's place, and nothing else is; no more than so many are there once more; and all were handled.
async fn all_back_and_few_twice(shop: &Shop, all: &BTreeSet<String>, repeats: usize) {
    let back = ids(&shop.broker.messages(PLACE));
    assert_eq!(back.iter().cloned().collect::<BTreeSet<_>>(), *all, "each of them, and no other");
    assert!(back.len() <= all.len() + repeats, "{} for {} letters and {repeats} deaths", back.len(), all.len());
    assert_eq!(shop.waiting().await, BTreeSet::new());
    shop.app.settled().await;
    let handled: BTreeSet<_> = shop.seen_by("bill").into_iter().map(|seen| seen.1).collect();
    assert_eq!(handled, *all);
    assert!(shop.app.drain().await.clean);
}

#[tokio::test(start_paused = true)]
async fn listing_disturbs_nobody_and_sees_more_than_fits_into_one_window() {
    let shop = Shop::with_dead_letters(1000).await;
    let before = shop.app.status().await;
    let listing = shop.dead().list(DEAD, &Filter::new(), u64::MAX).await.unwrap();
    assert_eq!((listing.letters.len(), listing.complete), (1000, true));
    let some = shop.dead().list(DEAD, &Filter::new(), 10).await.unwrap();
    assert_eq!((some.letters.len(), some.complete), (10, false));
    let after = shop.app.status().await;
    let dead = |status: &convoke::AppStatus| status.handlers.iter().map(|one| (one.dead, one.handled)).collect::<Vec<_>>();
    assert_eq!(dead(&before), dead(&after));
    assert_eq!(shop.waiting().await.len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_letter_says_everything_that_is_known_of_it() {
    let shop = Shop::with_dead_letters(1).await;
    let letter = shop.dead().list(DEAD, &Filter::new(), 1).await.unwrap().letters.remove(0);
    assert_eq!((letter.topic(), letter.group(), letter.handler()), (Some("redrive.orders"), Some("bills"), Some("bill")));
    assert_eq!((letter.reason(), letter.attempts(), letter.replays()), (Some(DeadReason::HandlerError), Some(2), 0));
    assert_eq!((letter.error(), letter.key().as_deref()), (Some("the bank does not answer"), Some("k0")));
    assert!(letter.died_at() >= letter.first_failed_at() && letter.first_failed_at().is_some() && letter.host().is_some());
    assert_eq!(letter.message().payload(), r#"{"who":"k0","number":0}"#);
}

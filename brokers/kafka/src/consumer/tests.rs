//! What a subscription decides without a server.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_broker_common::EventStream;
use convoke_core::broker::{BrokerUrl, Progress, SubscribeSpec, SubscriptionEvent, Token};
use convoke_core::{Incoming, Message, Position, Topic};
use futures_core::Stream as _;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;

use super::assign::Begin;
use super::context::Context;
use super::plan::Plan;
use super::state::{Phase, Shared, part_id};
use super::tick::Tick;
use crate::client::{Link, lock};
use crate::options::Options;
use crate::said::Said;
use crate::starts::Place;
use crate::stranded::Answer;
use crate::{config, starts};

struct Bench {
    shared: Arc<Shared>,
    link: Arc<Link>,
    consumer: BaseConsumer<Context>,
    events: EventStream,
    place: Place,
}

/// A member of a group on two topics, which nobody answers.
fn bench() -> Bench {
    bench_of(Arc::default())
}

/// The same in a process that has said this.
fn bench_of(said: Arc<Said>) -> Bench {
    let options = Options::from_url(&BrokerUrl::parse("kafka://127.0.0.1:1").unwrap()).unwrap();
    let topics: Vec<Topic> = ["orders", "bills"].map(Topic::from).into();
    let plan = Plan::new(
        &SubscribeSpec::new("g", topics.clone()),
        topics.iter().map(|topic| (topic.clone(), 1)).collect(),
        &options,
        4096,
    );
    let (told, events) = convoke_broker_common::events();
    let (shared, link) = (Arc::new(Shared::new(plan, told, said)), Arc::new(Link::default()));
    let config = config::consumer(&options, "app", "g", "range");
    let consumer = config.create_with_context(Context::new(&shared, &link)).unwrap();
    Bench { shared, link, consumer, events, place: (topics[0].clone(), 0) }
}

impl Bench {
    /// The partition is ours, with this text at position 5. Says whether its last owner is taken for dead.
    async fn own(&mut self, text: &str) -> bool {
        let saved = Progress::decode(text, Position::Offset(5), starts::clock()).unwrap_or_default();
        self.shared.own(vec![Begin { place: self.place.clone(), at: 5, saved, text: text.to_owned() }]);
        loop {
            let event = poll_fn(|cx| Pin::new(&mut self.events).poll_next(cx)).await.unwrap();
            if let SubscriptionEvent::Assigned { resume, .. } = event {
                return resume.unclean;
            }
        }
    }

    /// What a commit of position 5 is answered.
    fn commit(&self, result: Result<(), RDKafkaErrorCode>) -> String {
        let mut state = lock(&self.shared.state);
        let index = state.part_of(&self.place).unwrap();
        let asked = state.asked(index, 5, Progress::default(), true).unwrap();
        let text = asked.text.clone();
        state.send(std::slice::from_ref(&asked));
        if state.answered(asked, result) {
            state.deliver(index, &self.shared.events);
        }
        text
    }

    fn lose(&self) {
        self.shared.revoked_by_group(&self.consumer, std::slice::from_ref(&self.place), true);
    }

    fn phase(&self) -> Phase {
        lock(&self.shared.state).phase
    }
}

#[tokio::test]
async fn nothing_is_delivered_before_kafka_knows_that_the_partition_is_open() {
    let mut bench = bench();
    bench.own("").await;
    let given = {
        let mut state = lock(&bench.shared.state);
        let index = state.part_of(&bench.place).unwrap();
        let (id, position) = (part_id(index), Position::Offset(5));
        let token = Token::new(id, state.parts[index].epoch, position);
        let message = Message::builder(bench.place.0.clone()).build();
        state.parts[index].buffer.push_back(Incoming::new(message, 0, position, token.clone()));
        (index, id, token.epoch)
    };
    let (index, id, epoch) = given;
    bench.shared.grant(id, epoch, 10, 1 << 20);
    assert_eq!(lock(&bench.shared.state).parts[index].given, 5, "it is not open");
    bench.commit(Err(RDKafkaErrorCode::RequestTimedOut));
    assert_eq!(lock(&bench.shared.state).parts[index].given, 5, "it still is not");
    bench.commit(Ok(()));
    assert_eq!(lock(&bench.shared.state).parts[index].given, 6);
}

#[tokio::test]
async fn what_a_living_process_left_open_is_no_death_and_what_another_left_open_is_one() {
    let of_another = Progress::default().encode(Position::Offset(5), Duration::from_secs(1), true).unwrap();
    for has_both in [false, true] {
        let said = Arc::<Said>::default();
        let mut bench = bench_of(Arc::clone(&said));
        assert!(bench.own(&of_another).await);
        let taken = bench.commit(Ok(()));
        // A text names its millisecond.
        std::thread::sleep(Duration::from_millis(2));
        let unanswered = bench.commit(Err(RDKafkaErrorCode::RequestTimedOut));
        bench.lose();
        let kept = if has_both { unanswered } else { taken };
        assert!(!bench.own(&kept).await, "the brokers may have either");
        bench.lose();
        assert!(!bench.own(&kept).await, "it was lost again before anything was committed");
        let mut bench = bench_of(said);
        assert!(!bench.own(&kept).await, "another client has taken the place of one that hangs");
        bench.commit(Ok(()));
        bench.lose();
        assert!(bench.own(&of_another).await, "somebody had it in between, and died");
    }
}

#[test]
fn what_lies_behind_a_marked_end_is_not_committed_when_the_partition_is_idle() {
    let bench = bench();
    let mut state = lock(&bench.shared.state);
    let idle = |state: &mut super::state::State, end, position| {
        let index = state.own(0, &bench.place, 5, end, Progress::default());
        state.parts[index].idle_at(position)
    };
    assert_eq!(idle(&mut state, u64::MAX, 9), Some(9), "markers of transactions");
    assert_eq!(idle(&mut state, 7, 9), Some(7));
    assert_eq!(idle(&mut state, 5, 9), None);
}

#[test]
fn a_client_that_knows_nobody_is_replaced() {
    let bench = bench();
    let mut tick = Tick::new(&bench.shared.plan);
    tick.replace_if_stranded(&bench.shared, &Answer::Silence("busy".to_owned()), Instant::now());
    assert_eq!(bench.phase(), Phase::Running);
    tick.replace_if_stranded(&bench.shared, &Answer::Nobody, Instant::now());
    assert_eq!(bench.phase(), Phase::Dropped);
}

#[test]
fn a_client_that_is_not_let_in_again_is_replaced_where_the_brokers_are_there() {
    let session = Duration::from_secs(45);
    let bench = bench();
    let tick = Tick::new(&bench.shared.plan);
    let look = |after| {
        tick.look_whether_adrift(&bench.shared, &bench.consumer, Instant::now() + after);
        bench.phase()
    };
    assert_eq!(look(10 * session), Phase::Running, "it has lost nothing");
    bench.lose();
    assert_eq!(look(session), Phase::Running, "it may take its time");
    bench.link.down("no answer");
    assert_eq!(look(10 * session), Phase::Running, "nobody is there to let it in");
    bench.link.up();
    bench.shared.assigned(&bench.consumer, &[]);
    assert_eq!(look(10 * session), Phase::Running, "it is in, with nothing to do");
    bench.lose();
    assert_eq!(look(3 * session), Phase::Dropped);
}

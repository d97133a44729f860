//! D22: dead letters go back to the group that gave up on them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use convoke_core::broker::Fault;
use convoke_core::{BoxError, ErrorKind, names, permanent};
use convoke_runtime::dead::{DeadLetters, Filter, MAX_REPLAYS, Options, Report};

use crate::act::{Act, on};
use crate::lab::Lab;
use crate::note::{Note, notes};
use crate::process::Process;
use crate::stop::{CaseResult, Stop, check, check_eq};
use crate::tap::Tap;
use crate::{Foreign, Harness};

/// A handler that gives everything up until it is mended.
#[derive(Clone, Default)]
struct Mended(Arc<AtomicBool>);

impl Mended {
    fn handler(&self, name: &'static str, topic: &'static str) -> Act {
        let mended = Arc::clone(&self.0);
        on(name, topic).does(move |_| {
            let mended = mended.load(Ordering::Acquire);
            async move { if mended { Ok(()) } else { Err::<(), BoxError>(permanent("it is broken").into()) } }
        })
    }

    fn mend(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The tools, as another process: they know the broker and the topic's name.
struct Tools {
    lab: Lab,
    dead: DeadLetters,
    topic: String,
}

impl Tools {
    async fn new(lab: &Lab, topic: &str, handler: &str) -> Result<Self, Stop> {
        let connection = lab.harness().open().await?;
        let tap = Tap::new(connection, "tools", lab.story().clone(), lab.wire().clone());
        Ok(Self { lab: lab.clone(), dead: DeadLetters::of(Arc::new(tap)), topic: lab.dead(topic, handler) })
    }

    async fn redrive(&self, options: Options) -> Result<Report, Stop> {
        self.dead.redrive(self.topic.as_str(), &options, |_| {}).await.map_err(lacking)
    }

    /// Until nothing of those that were killed is left, whose partitions may be theirs for a while.
    async fn redrive_to_the_end(&self, options: Options) -> CaseResult {
        let patience = tokio::time::Instant::now() + self.lab.patience();
        loop {
            let report = self.redrive(options.clone()).await?;
            if report.complete && report.failed == 0 {
                return Ok(());
            }
            check!(tokio::time::Instant::now() < patience, "it does not come to an end: {report:?}");
            self.lab.wait(self.lab.ms(500)).await;
        }
    }

    async fn ids(&self) -> Result<BTreeSet<String>, Stop> {
        let listing = self.dead.list(self.topic.as_str(), &Filter::new(), u64::MAX).await.map_err(lacking)?;
        check!(listing.complete, "somebody else has partitions of {}", self.topic);
        Ok(listing.letters.iter().map(|letter| letter.id()).collect())
    }
}

fn lacking(error: convoke_core::Error) -> Stop {
    match error.kind() {
        ErrorKind::Unsupported => Stop::lacking(error.to_string()),
        _ => error.into(),
    }
}

async fn with_dead_letters(lab: &Lab, topic: &'static str, count: u64, acts: Vec<Act>) -> Result<Process, Stop> {
    let setup = acts.into_iter().fold(lab.process("a"), |setup, act| setup.with(act));
    let app = setup.start().await?;
    app.publish(topic, &notes(count, 7)).await?;
    app.settled().await?;
    Ok(app)
}

pub(super) async fn d22_dead_letters_go_back_to_the_group_that_gave_up_on_them_and_to_no_other(lab: Lab) -> CaseResult {
    let (topic, mended) = (lab.topic("in"), Mended::default());
    let app = with_dead_letters(&lab, topic, 30, vec![mended.handler("work", topic), on("other", topic)]).await?;
    let tools = Tools::new(&lab, topic, "work").await?;
    check_eq!(tools.ids().await?.len(), 30, "dead letters that wait");
    let before = lab.calls().of_handler("work").len();
    mended.mend();
    tools.redrive_to_the_end(Options::new()).await?;
    app.settled().await?;
    lab.calls().of_handler("work").each_done_once(0..30)?;
    lab.calls().of_handler("other").each_done_once(0..30)?;
    check_eq!(lab.calls().of_handler("work").len() - before, 30, "calls after the letters went back");
    check_eq!(lab.read(topic).await?.len(), 30, "messages of the topic that all groups read");
    check!(tools.ids().await?.is_empty(), "there are dead letters left");
    Ok(())
}

pub(super) async fn d22_a_dead_letter_goes_back_byte_for_byte_less_the_headers_of_its_death(lab: Lab) -> CaseResult {
    let topic = lab.topic("in");
    let app = lab.process("a").with(on("work", topic)).start().await?;
    let broken = Foreign::of(b"{ \xff\x00 not a note".to_vec()).key("ada").header(names::ID, "id-1");
    let broken =
        broken.header(names::TYPE, "conformance.note.v1").header("tenant", "ä").header("tenant", "").header("bin", vec![0xfe, 0]);
    lab.produce(topic, broken.clone()).await?;
    app.settled().await?;
    let tools = Tools::new(&lab, topic, "work").await?;
    check_eq!(tools.ids().await?, BTreeSet::from(["id-1".to_owned()]), "dead letters that wait");
    let original = lab.read(topic).await?.remove(0);
    tools.redrive_to_the_end(Options::new()).await?;
    let back = lab.read(&names::retry_topic(topic, &lab.group("work"))).await?;
    check_eq!(back.len(), 1, "messages in the group's place");
    check_eq!((&back[0].key, &back[0].payload), (&original.key, &original.payload), "key and payload");
    let mut expected = original.headers;
    expected.push((names::REPLAY_COUNT.to_owned(), b"1".to_vec()));
    // Where headers are a map, names have no order among each other; the values of one name have.
    let mut headers = back[0].headers.clone();
    for headers in [&mut headers, &mut expected] {
        headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    check_eq!(headers, expected, "the headers");
    Ok(())
}

pub(super) async fn d22_a_redrive_that_is_killed_goes_on_where_it_was_and_repeats_one_at_most(lab: Lab) -> CaseResult {
    let (topic, mended) = (lab.topic("in"), Mended::default());
    let app = with_dead_letters(&lab, topic, 20, vec![mended.handler("work", topic)]).await?;
    let all = Tools::new(&lab, topic, "work").await?.ids().await?;
    check_eq!(all.len(), 20, "dead letters that wait");
    mended.mend();
    let place = names::retry_topic(topic, &lab.group("work"));
    lab.inject(Fault::PublishSlow { topic: place.as_str().into(), count: 10_000, by: lab.ms(40) }).await?;
    let mut deaths = 0;
    // In the middle of the first publish, of the second, and of the third.
    for after in [20, 60, 100] {
        let tools = Tools::new(&lab, topic, "work").await?;
        let kill_after = lab.ms(after) + connecting(&*lab.harness());
        deaths += usize::from(tokio::time::timeout(kill_after, tools.redrive(Options::new())).await.is_err());
    }
    check!(deaths > 0, "none was killed in time");
    Tools::new(&lab, topic, "work").await?.redrive_to_the_end(Options::new()).await?;
    let back = lab.read(&place).await?;
    let ids: BTreeSet<_> = back.iter().filter_map(|message| message.text(names::ID).map(str::to_owned)).collect();
    check_eq!(ids, all, "what is in the group's place");
    check!(back.len() <= 20 + deaths, "{} messages are in the group's place, for 20 letters and {deaths} deaths", back.len());
    app.settled().await?;
    lab.calls().each_done(0..20)
}

/// Before the first publish, a connection is made and a partition is assigned.
fn connecting(harness: &dyn Harness) -> Duration {
    if harness.time() == crate::Time::Virtual { Duration::ZERO } else { Duration::from_millis(500) }
}

pub(super) async fn d22_what_dies_again_and_again_is_not_sent_back_for_ever(lab: Lab) -> CaseResult {
    let (topic, mended) = (lab.topic("in"), Mended::default());
    let app = with_dead_letters(&lab, topic, 1, vec![mended.handler("work", topic)]).await?;
    let tools = Tools::new(&lab, topic, "work").await?;
    for round in 1..=MAX_REPLAYS {
        check_eq!(tools.redrive(Options::new()).await?.done, 1, "letters that were sent back in round {round}");
        app.settled().await?;
        let counted = |letter: &Foreign| letter.text(names::REPLAY_COUNT) == Some(&round.to_string());
        let letters = lab.read(&tools.topic).await?;
        check_eq!(letters.iter().filter(|letter| counted(letter)).count(), 1, "letters with {round} replays");
        check!(letters.iter().all(|letter| letter.text(names::DEAD_TOPIC) == Some(topic)), "one is not said to be of {topic}");
    }
    let report = tools.redrive(Options::new()).await?;
    check_eq!((report.done, report.refused), (0, 1), "(sent back, refused)");
    check_eq!(tools.ids().await?.len(), 1, "dead letters that wait");
    check_eq!(tools.redrive(Options::new().max_replays(MAX_REPLAYS + 1)).await?.done, 1, "letters sent back with a higher limit");
    Ok(())
}

pub(super) async fn d22_a_dry_run_changes_nothing_and_what_is_not_meant_stays(lab: Lab) -> CaseResult {
    let (topic, mended) = (lab.topic("in"), Mended::default());
    let app = with_dead_letters(&lab, topic, 10, vec![mended.handler("work", topic)]).await?;
    // Behind others of its key, which stay.
    app.handle().publisher().publish(&Note::new("k0", 99)).topic(topic).header("tenant", "acme").await?;
    app.settled().await?;
    let tools = Tools::new(&lab, topic, "work").await?;
    let all = tools.ids().await?;
    let acme = Options::new().filter(Filter::new().header("tenant", "acme"));
    let dry = tools.redrive(acme.clone().dry_run()).await?;
    check_eq!((dry.done, dry.left), (1, 10), "(to be sent back, to be left)");
    let place = names::retry_topic(topic, &lab.group("work"));
    check!(lab.read(&place).await?.is_empty(), "a dry run has sent something back");
    check_eq!(tools.ids().await?, all, "dead letters after a dry run");
    mended.mend();
    tools.redrive_to_the_end(acme).await?;
    app.settled().await?;
    lab.calls().each_done_once([99])?;
    check_eq!(tools.ids().await?.len(), 10, "dead letters that were not meant");
    let purged = tools.dead.purge(tools.topic.as_str(), &Options::new(), |_| {}).await.map_err(lacking)?;
    check_eq!((purged.done, tools.ids().await?.len()), (10, 0), "(thrown away, left)");
    lab.calls().each_done_once([99])
}

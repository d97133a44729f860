//! What a case works with: names of its own, time, processes, faults, and what is known of all that happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use convoke_core::broker::{Capabilities, Fault, SettleBy};
use convoke_runtime::AppHandle;
use tokio::time::Instant;

use crate::calls::{Calls, Journal};
use crate::process::Setup;
use crate::stop::{CaseResult, Stop};
use crate::story::Story;
use crate::tap::Wire;
use crate::weather::{Passing, Weather};
use crate::{Foreign, Harness, Time};

/// How often the runtime commits positions.
const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lab(Arc<Inner>);

struct Inner {
    harness: Arc<dyn Harness>,
    prefix: String,
    weather: Weather,
    passing: Mutex<Option<Passing>>,
    topics: Mutex<Vec<&'static str>>,
    journal: Journal,
    story: Story,
    wire: Wire,
    running: Mutex<Vec<(&'static str, AppHandle)>>,
}

impl Lab {
    /// A lab for the case of this name.
    pub(crate) fn new(harness: Arc<dyn Harness>, case: &str, weather: Weather) -> Self {
        let mut words = case.split('_');
        // `d07` and the first letters of the rest: short, and no two alike.
        let number = words.next().unwrap_or_default();
        let letters: String = words.filter_map(|word| word.chars().next()).collect();
        let prefix = format!("{number}{letters}.{}", harness.run_id());
        let (passing, topics, running) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (journal, story, wire) = (Journal::default(), Story::new(), Wire::new());
        Self(Arc::new(Inner { harness, prefix, weather, passing, topics, journal, story, wire, running }))
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn harness(&self) -> Arc<dyn Harness> {
        Arc::clone(&self.0.harness)
    }

    pub(crate) fn story(&self) -> &Story {
        &self.0.story
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.0.wire
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// Every call of every handler so far.
    pub(crate) fn calls(&self) -> Calls {
        self.0.journal.calls()
    }

    /// The name of every application of the case: all its processes are the same application.
    pub(crate) fn app_name(&self) -> String {
        self.0.prefix.clone()
    }

    /// A topic of the case. It exists once a process has started.
    pub(crate) fn topic(&self, name: &str) -> &'static str {
        let topic: &'static str = self.name(name);
        Self::lock(&self.0.topics).push(topic);
        topic
    }

    /// A name of the case, of anything else.
    pub(crate) fn name(&self, name: &str) -> &'static str {
        format!("{}.{name}", self.0.prefix).leak()
    }

    pub(crate) fn topics(&self) -> Vec<&'static str> {
        Self::lock(&self.0.topics).clone()
    }

    /// The group of a handler that names none.
    pub(crate) fn group(&self, handler: &str) -> String {
        format!("{}.{handler}", self.0.prefix)
    }

    /// The dead-letter topic of such a handler.
    pub(crate) fn dead(&self, topic: &str, handler: &str) -> String {
        format!("{topic}.{}.dead", self.group(handler))
    }

    /// A process. Processes of one case are instances of one application, if they have the same handlers.
    pub(crate) fn process(&self, name: &'static str) -> Setup {
        Setup::new(self, name)
    }

    pub(crate) fn started(&self, process: &'static str, handle: &AppHandle) {
        Self::lock(&self.0.running).push((process, handle.clone()));
    }

    pub(crate) fn ended(&self, process: &'static str) {
        let mut running = Self::lock(&self.0.running);
        if let Some(index) = running.iter().rposition(|(other, _)| *other == process) {
            running.remove(index);
        }
    }

    /// Lets the wire and the server be as they are to be in this case, as soon as the first process has a connection.
    pub(crate) async fn begin_weather(&self) -> CaseResult {
        if Self::lock(&self.0.passing).is_none() {
            let passing = self.0.weather.begin(self).await?;
            *Self::lock(&self.0.passing) = Some(passing);
        }
        Ok(())
    }

    /// Waits until the weather of the case is over, where the server falls: all of it has to come while the case is at work.
    pub(crate) async fn see_the_weather_out(&self) -> CaseResult {
        if !self.is_falling() {
            return Ok(());
        }
        let passing = Self::lock(&self.0.passing).as_mut().map(|passing| std::mem::replace(passing, Passing::none()));
        match passing {
            Some(passing) => passing.over().await,
            None => Err(Stop::failed("there was no weather yet")),
        }
    }

    /// Whether the server has fallen, where it does, and is there again.
    pub(crate) fn is_over(&self) -> bool {
        !self.is_falling() || Self::lock(&self.0.passing).as_ref().is_some_and(Passing::is_over)
    }

    /// Drains what still runs.
    pub(crate) async fn clean_up(&self) {
        drop(Self::lock(&self.0.passing).take());
        let running = std::mem::take(&mut *Self::lock(&self.0.running));
        for (_, handle) in running {
            handle.abort();
            let _ = tokio::time::timeout(self.ms(5000), handle.drain()).await;
        }
    }

    /// What the broker declares.
    pub(crate) async fn capabilities(&self) -> Result<Capabilities, Stop> {
        let connection = self.0.harness.open().await?;
        let capabilities = connection.capabilities().clone();
        connection.close(self.ms(1000)).await;
        Ok(capabilities)
    }

    /// Whether connections are lost that the case does not cut.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.0.weather, Weather::Broken | Weather::Falling | Weather::Made)
    }

    /// Whether the server is frozen and killed.
    pub(crate) fn is_falling(&self) -> bool {
        self.0.weather == Weather::Falling
    }

    /// Whether everything takes longer on the wire.
    pub(crate) fn is_slow(&self) -> bool {
        self.0.weather == Weather::Slow
    }

    /// How many messages may be done and come again all the same after a death or a cut, where `at_once` handlers ran that take
    /// `takes` each: those that ran; and where positions are committed, also what was finished since the last commit. On a broken wire any.
    pub(crate) async fn may_repeat(&self, at_once: usize, takes: Duration) -> Result<usize, Stop> {
        if self.is_broken() {
            return Ok(usize::MAX >> 8);
        }
        if self.capabilities().await?.settle == SettleBy::Message {
            // Over a wire, the acknowledgement of what each of them did last may be on its way.
            let on_their_way = if self.0.harness.time() == Time::Virtual { 0 } else { at_once };
            return Ok(at_once + on_their_way);
        }
        // One more than fits, since the commit and its answer take their time too.
        let each = COMMIT_EVERY.as_nanos().div_ceil(takes.as_nanos().max(1)) + 1;
        Ok(at_once * (1 + usize::try_from(each).unwrap_or(usize::MAX / at_once / 2)))
    }

    /// So many milliseconds, stretched as the harness says. Everything that a case states in time is made with it. Where the server falls
    /// all takes longer, so that there is work left when it does.
    pub(crate) fn ms(&self, count: u64) -> Duration {
        let longer = if self.is_falling() { 4 } else { 1 };
        match self.0.harness.time() {
            Time::Virtual => Duration::from_millis(count) * longer,
            Time::Real { stretch } => Duration::from_millis(count) * stretch.max(1) * longer,
        }
    }

    /// By how much something may come later than it is due.
    pub(crate) fn slack(&self) -> Duration {
        match self.0.harness.time() {
            Time::Virtual => Duration::from_millis(10),
            Time::Real { .. } => self.ms(400),
        }
    }

    /// How long to wait for something that should come at last.
    pub(crate) fn patience(&self) -> Duration {
        match self.0.harness.time() {
            Time::Virtual => Duration::from_secs(7200),
            Time::Real { .. } => self.0.harness.limit() / 2,
        }
    }

    pub(crate) async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until a condition holds that others bring about.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) -> CaseResult {
        let begun = Instant::now();
        let patience = self.patience().min(Duration::from_secs(600));
        while !holds() {
            let waited = begun.elapsed();
            if waited > patience {
                return Err(Stop::failed(format!("waited for in vain: {what}")));
            }
            // Often at first; what takes long is not looked at a hundred thousand times.
            tokio::time::sleep((waited / 100).clamp(Duration::from_millis(2), Duration::from_millis(250))).await;
        }
        Ok(())
    }

    /// Makes something fail: above the broker where that is possible, else by the broker's own means.
    pub(crate) async fn inject(&self, fault: Fault) -> CaseResult {
        self.0.story.event("broker", format!("fault: {fault:?}"));
        match fault {
            Fault::PublishRejected { .. }
            | Fault::PublishUnknown { .. }
            | Fault::PublishSlow { .. }
            | Fault::SettleLost { .. } => {
                self.0.wire.inject(fault);
                Ok(())
            }
            Fault::Cut { down } => self.0.harness.cut(down).await,
            fault => {
                let connection = self.0.harness.open().await?;
                let faults = connection.faults().ok_or_else(|| Stop::lacking("the broker cannot be told to fail"))?;
                faults.inject(fault).map_err(|error| match error.kind() {
                    convoke_core::ErrorKind::Unsupported => Stop::lacking(error.to_string()),
                    _ => error.into(),
                })
            }
        }
    }

    /// What a foreign client publishes.
    pub(crate) async fn produce(&self, topic: &str, message: Foreign) -> CaseResult {
        self.0.harness.produce_foreign(topic, message).await
    }

    /// What a careless foreign client publishes.
    pub(crate) async fn produce_careless(&self, topic: &str, message: Foreign) -> CaseResult {
        self.0.harness.produce_careless(topic, message).await
    }

    /// What a foreign client finds in a topic.
    pub(crate) async fn read(&self, topic: &str) -> Result<Vec<Foreign>, Stop> {
        self.0.harness.read_all_foreign(topic).await
    }
}

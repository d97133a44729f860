//! What handlers were called with, and what can be said of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoke_core::Message;
use tokio::time::Instant;

use crate::Stop;
use crate::stop::CaseResult;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It runs.
    Running,
    /// It returned, and said that its message is done.
    Done,
    /// It returned something else, or an error.
    Failed,
    /// It was dropped where it stood: cancelled, panicked, or dead with its process.
    Cut,
}

/// One call of a handler with one message.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    pub(crate) begun: Instant,
    pub(crate) ended: Option<Instant>,
    pub(crate) how: How,
    pub(crate) process: String,
    pub(crate) handler: String,
    pub(crate) message: Message,
    pub(crate) id: String,
    pub(crate) key: String,
    /// The note's number, or 0.
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    pub(crate) deliveries: u32,
}

/// Every call so far, in the order in which they began.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Called>>>);

impl Journal {
    fn entries(&self) -> MutexGuard<'_, Vec<Called>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, called: Called) -> usize {
        let mut entries = self.entries();
        entries.push(called);
        entries.len() - 1
    }

    pub(crate) fn end(&self, index: usize, how: How) {
        let mut entries = self.entries();
        if let Some(entry) = entries.get_mut(index) {
            entry.ended = Some(Instant::now());
            entry.how = how;
        }
    }

    pub(crate) fn calls(&self) -> Calls {
        Calls(self.entries().clone())
    }
}

/// Some calls, in the order in which they began.
#[derive(Debug, Clone)]
pub(crate) struct Calls(pub(crate) Vec<Called>);

impl Calls {
    fn keep(mut self, keep: impl FnMut(&Called) -> bool) -> Self {
        self.0.retain(keep);
        self
    }

    pub(crate) fn of_process(self, process: &str) -> Self {
        self.keep(|call| call.process == process)
    }

    pub(crate) fn of_handler(self, handler: &str) -> Self {
        self.keep(|call| call.handler == handler)
    }

    pub(crate) fn of_key(self, key: &str) -> Self {
        self.keep(|call| call.key == key)
    }

    pub(crate) fn of_number(self, number: u64) -> Self {
        self.keep(|call| call.number == number)
    }

    pub(crate) fn that(self, how: How) -> Self {
        self.keep(|call| call.how == how)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The numbers of all calls, as they began.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.0.iter().map(|call| call.number).collect()
    }

    /// The attempts of all calls, as they began.
    pub(crate) fn attempts(&self) -> Vec<u32> {
        self.0.iter().map(|call| call.attempt).collect()
    }

    /// The numbers that were done, ascending, as often as they were.
    pub(crate) fn done(&self) -> Vec<u64> {
        let mut numbers = self.clone().that(How::Done).numbers();
        numbers.sort_unstable();
        numbers
    }

    /// Each of these numbers was done, at least once, and no others.
    pub(crate) fn each_done(&self, expected: impl IntoIterator<Item = u64>) -> CaseResult {
        let (done, expected) = (self.done().into_iter().collect::<BTreeSet<_>>(), expected.into_iter().collect::<BTreeSet<_>>());
        let lost: Vec<_> = expected.difference(&done).copied().collect();
        if !lost.is_empty() {
            return Err(Stop::failed(format!("lost, or at least never done: {}", listed(&lost))).about(lost));
        }
        let strange: Vec<_> = done.difference(&expected).copied().collect();
        if !strange.is_empty() {
            return Err(Stop::failed(format!("done, but not expected: {}", listed(&strange))).about(strange));
        }
        Ok(())
    }

    /// Each of these numbers was done, once, and no others.
    pub(crate) fn each_done_once(&self, expected: impl IntoIterator<Item = u64>) -> CaseResult {
        self.each_done(expected)?;
        self.none_done_twice(|_| false)
    }

    /// No number was done more than once, but for those that may be.
    pub(crate) fn none_done_twice(&self, may: impl Fn(u64) -> bool) -> CaseResult {
        let done = self.done();
        let mut twice: Vec<_> = done.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        twice.dedup();
        twice.retain(|number| !may(*number));
        if twice.is_empty() {
            return Ok(());
        }
        Err(Stop::failed(format!("done more than once: {}", listed(&twice))).about(twice))
    }

    fn by_key(&self) -> BTreeMap<(&str, &str), Vec<&Called>> {
        let mut by_key = BTreeMap::<_, Vec<_>>::new();
        let mut calls: Vec<_> = self.0.iter().collect();
        calls.sort_by_key(|call| call.begun);
        for call in calls {
            by_key.entry((&*call.handler, &*call.key)).or_default().push(call);
        }
        by_key
    }

    /// Within each key of each handler, numbers began in ascending order for the first time, over all processes.
    pub(crate) fn first_starts_in_order(&self) -> CaseResult {
        for ((handler, key), calls) in self.by_key() {
            let mut seen = BTreeSet::new();
            let first: Vec<u64> = calls.iter().map(|call| call.number).filter(|number| seen.insert(*number)).collect();
            if let Some(at) = first.windows(2).position(|pair| pair[0] > pair[1]) {
                let why = format!("`{handler}` began key `{key}` out of order: {}", listed(&first));
                return Err(Stop::failed(why).about(first[at..at + 2].iter().copied()));
            }
        }
        Ok(())
    }

    /// Within each key of each handler, no two calls ran at the same time, over all processes.
    pub(crate) fn no_key_beside_itself(&self) -> CaseResult {
        for ((handler, key), calls) in self.by_key() {
            for (earlier, later) in calls.iter().zip(calls.iter().skip(1)) {
                if earlier.ended.is_none_or(|ended| ended > later.begun) {
                    let why = format!(
                        "`{handler}` ran {} (in {}) and {} (in {}) of key `{key}` at the same time",
                        earlier.number, earlier.process, later.number, later.process
                    );
                    return Err(Stop::failed(why).about([earlier.number, later.number]));
                }
            }
        }
        Ok(())
    }

    /// How many of these ran at the same time at most.
    pub(crate) fn most_at_once(&self) -> usize {
        let running =
            |at: Instant| self.0.iter().filter(move |call| call.begun <= at && call.ended.is_none_or(|ended| ended > at));
        self.0.iter().map(|call| running(call.begun).count()).max().unwrap_or(0)
    }
}

/// Numbers for people.
pub(crate) fn listed(numbers: &[u64]) -> String {
    let mut text = numbers.iter().take(20).map(u64::to_string).collect::<Vec<_>>().join(", ");
    if numbers.len() > 20 {
        text.push_str(&format!(" and {} more", numbers.len() - 20));
    }
    text
}

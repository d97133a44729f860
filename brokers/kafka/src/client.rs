//! What all clients of a connection share: logs, and what is known of the connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convoke_core::broker::Health;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Locks, also after a panic elsewhere: what is kept is whole at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state of the connection, as far as it shows.
#[derive(Debug, Default)]
pub(crate) struct Link {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    reason: String,
    /// Something went wrong since the servers were asked last.
    doubt: bool,
    /// Who we are or what we may do was refused.
    refused: Option<String>,
    /// How often a server hung up that had begun to talk, as one does that wants to know who we are.
    hung_up: u32,
    closed: bool,
}

impl Link {
    pub(crate) fn health(&self) -> Health {
        let state = lock(&self.state);
        match (state.closed, state.failures) {
            (true, _) => Health::Closed,
            (_, 0) => Health::Up,
            (_, failures) => Health::Down { failures, reason: state.reason.clone() },
        }
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
    }

    /// An answer came.
    pub(crate) fn up(&self) {
        let mut state = lock(&self.state);
        (state.failures, state.doubt, state.refused, state.hung_up) = (0, false, None, 0);
    }

    /// No answer came to a question.
    pub(crate) fn down(&self, reason: &str) {
        let mut state = lock(&self.state);
        state.failures = state.failures.saturating_add(1);
        if state.reason.is_empty() || !state.doubt {
            reason.clone_into(&mut state.reason);
        }
        state.doubt = true;
    }

    /// What librdkafka said last of the connection, and whether it is a refusal.
    pub(crate) fn said(&self) -> (String, Option<String>) {
        let state = lock(&self.state);
        (state.reason.clone(), state.refused.clone())
    }

    fn suspect(&self, code: Option<Code>, reason: &str) {
        let mut state = lock(&self.state);
        if matches!(code, Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL)) {
            state.refused = Some(reason.to_owned());
        }
        state.hung_up += u32::from(reason.contains("in state UP"));
        // The last of many, that all of them are away, says less than those before it.
        if code != Some(Code::AllBrokersDown) || state.reason.is_empty() {
            reason.clone_into(&mut state.reason);
        }
        state.doubt = true;
    }

    /// Whether servers hang up that have begun to talk. Once it may be that one was about to stop.
    pub(crate) fn is_hung_up(&self) -> bool {
        lock(&self.state).hung_up > 1
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Whether something went wrong that nobody has looked into.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let state = lock(&self.state);
        state.doubt && state.failures == 0
    }
}

/// The context of clients without messages to read.
#[derive(Clone, Debug)]
pub(crate) struct Plain(pub(crate) Arc<Link>);

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel as L;
        // Why a server may have hung up is told nowhere else; and that it did is told by ourselves.
        if facility == "FAIL" && matches!(level, L::Warning | L::Info) {
            self.0.suspect(None, message);
            return log(L::Debug, facility, message);
        }
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        went_wrong(&self.0, &error, reason);
    }
}

impl ConsumerContext for Plain {}

/// librdkafka's own words name servers and settings, and never a password.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    use RDKafkaLogLevel as L;
    match level {
        L::Emerg | L::Alert | L::Critical | L::Error => {
            tracing::warn!(target: "convoke_kafka::librdkafka", facility, "{message}")
        }
        L::Warning | L::Notice => tracing::info!(target: "convoke_kafka::librdkafka", facility, "{message}"),
        L::Info | L::Debug => tracing::debug!(target: "convoke_kafka::librdkafka", facility, "{message}"),
    }
}

pub(crate) fn went_wrong(link: &Link, error: &KafkaError, reason: &str) {
    tracing::debug!(target: "convoke_kafka::librdkafka", %error, reason, "librdkafka reports an error");
    link.suspect(error.rdkafka_error_code(), reason);
}

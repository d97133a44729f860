//! Clients that have lost sight of every server.
//!
//! librdkafka forgets the servers that an answer about the cluster does not name. One that its controller takes for dead names none,
//! itself included, as happens after a pause, or while a cluster starts again: a client that hears so knows nobody any more, asks
//! nobody, and tells for ever that the servers are away (confluentinc/librdkafka#5301; seen with 2.12.1). So each client is asked from
//! time to time, and one that has no answer for [`LIMIT`] while another has is replaced.

use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};

/// How often a client is asked while nothing is known to be wrong: a server that is frozen breaks no connection.
pub(crate) const EVERY: Duration = Duration::from_secs(5);
/// How long a client may take to find the servers again after others have: it tries once a second.
const LIMIT: Duration = Duration::from_secs(10);
/// There in every cluster with groups; whether it is there does not matter.
const ANY: &str = "__consumer_offsets";

/// What a client was answered that asked for the cluster.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Servers: how many, and which one of them.
    Servers(usize, i32),
    /// That there are none. It has forgotten those that it knew.
    Nobody,
    Silence(String),
}

/// Asks. Blocks.
pub(crate) fn ask<C: ClientContext>(client: &Client<C>, within: Duration) -> Answer {
    match client.fetch_metadata(Some(ANY), within) {
        Ok(metadata) => match metadata.brokers() {
            [] => Answer::Nobody,
            all @ [one, ..] => Answer::Servers(all.len(), one.id()),
        },
        Err(error) => Answer::Silence(error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())),
    }
}

/// For how long a client has been without an answer.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    since: Option<Instant>,
    /// It has been told that there is nobody.
    forgot: bool,
}

impl Silence {
    /// Takes note of an answer. Whether the client is to be replaced, provided that the servers are there.
    pub(crate) fn note(&mut self, answer: &Answer, now: Instant) -> bool {
        match answer {
            Answer::Servers(..) => {
                *self = Self::default();
                return false;
            }
            Answer::Nobody => self.forgot = true,
            Answer::Silence(_) => {}
        }
        let since = *self.since.get_or_insert(now);
        self.forgot || now.duration_since(since) >= LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_replaced_after_long_silence_or_once_it_knows_nobody() {
        let begun = Instant::now();
        let mut silence = Silence::default();
        let mut after = |seconds, answer| silence.note(&answer, begun + Duration::from_secs(seconds));
        let silent = || Answer::Silence("timed out".to_owned());
        assert!(!after(0, silent()));
        assert!(!after(9, silent()));
        assert!(!after(10, Answer::Servers(1, 1)), "it has found them");
        assert!(!after(11, silent()));
        assert!(after(21, silent()));
        assert!(!after(22, Answer::Servers(1, 1)));
        assert!(after(23, Answer::Nobody));
        assert!(after(24, silent()), "it finds nobody by itself");
    }
}

//! Clients that have lost sight of every server.
//!
//! librdkafka forgets the servers that an answer about the cluster does not name. One that its controller takes for dead names none,
//! itself included, as happens after a pause, or while a cluster starts again: a client that hears so knows nobody any more, asks
//! nobody, and tells for ever that the servers are away (confluentinc/librdkafka#5301; seen with 2.12.1). So each client is asked from
//! time to time, and one that finds nobody for [`LIMIT`] while another does is replaced.

use std::time::{Duration, Instant};

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode as Code;

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
    /// It finds none to ask.
    Unreachable(String),
    /// One was asked, and said nothing in time; it may have much to do, or be frozen.
    Silence(String),
}

/// Asks. Blocks.
pub(crate) fn ask<C: ClientContext>(client: &Client<C>, within: Duration) -> Answer {
    match client.fetch_metadata(Some(ANY), within) {
        Ok(metadata) => match metadata.brokers() {
            [] => Answer::Nobody,
            all @ [one, ..] => Answer::Servers(all.len(), one.id()),
        },
        Err(error) => {
            let code = error.rdkafka_error_code();
            let reason = code.map_or_else(|| error.to_string(), |code| code.to_string());
            if code == Some(Code::BrokerTransportFailure) { Answer::Unreachable(reason) } else { Answer::Silence(reason) }
        }
    }
}

/// Whether a client has sight of the servers.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Since when it has found nobody to ask.
    lost: Option<Instant>,
    /// It was told that there is nobody.
    forgot: bool,
}

impl Sight {
    /// The servers are away: to find none of them is no wonder.
    pub(crate) fn excuse(&mut self) {
        self.lost = None;
    }

    /// Takes note of an answer. Whether the client is to be replaced, provided that the servers are there.
    pub(crate) fn note(&mut self, answer: &Answer, now: Instant) -> bool {
        match answer {
            Answer::Servers(..) => *self = Self::default(),
            Answer::Nobody => self.forgot = true,
            Answer::Unreachable(_) => {
                self.lost.get_or_insert(now);
            }
            Answer::Silence(_) => self.lost = None,
        }
        self.forgot || self.lost.is_some_and(|since| now.duration_since(since) >= LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_replaced_that_has_found_nobody_for_long_or_knows_nobody() {
        let begun = Instant::now();
        let mut sight = Sight::default();
        let mut after = |seconds, answer| sight.note(&answer, begun + Duration::from_secs(seconds));
        let lost = || Answer::Unreachable("transport".to_owned());
        let silent = || Answer::Silence("timed out".to_owned());
        assert!(!after(0, lost()));
        assert!(!after(9, lost()));
        assert!(!after(10, Answer::Servers(1, 1)), "it has found them");
        assert!(!after(11, lost()));
        assert!(!after(20, silent()), "it has found one that has much to do");
        assert!(!after(30, lost()));
        assert!(after(40, lost()));
        assert!(!after(41, Answer::Servers(1, 1)));
        assert!(after(42, Answer::Nobody));
        assert!(after(43, silent()), "it finds nobody by itself");
    }
}

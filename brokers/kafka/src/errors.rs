//! What librdkafka's errors mean to a caller.

use convoke_core::broker::PublishOutcome;
use convoke_core::{Error, ErrorKind, Topic};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

pub(crate) fn kind(code: Option<Code>) -> ErrorKind {
    use Code as C;
    match code {
        Some(C::UnknownTopic | C::UnknownTopicOrPartition | C::UnknownPartition) => ErrorKind::NotFound,
        Some(C::MessageSizeTooLarge | C::InvalidMessageSize) => ErrorKind::TooLarge,
        Some(C::InvalidTopic) => ErrorKind::InvalidTopic,
        Some(
            C::Authentication
            | C::SaslAuthenticationFailed
            | C::TopicAuthorizationFailed
            | C::GroupAuthorizationFailed
            | C::ClusterAuthorizationFailed
            | C::UnsupportedSASLMechanism
            | C::IllegalSASLState
            | C::TransactionalIdAuthorizationFailed,
        ) => ErrorKind::Unauthorized,
        Some(C::MessageTimedOut | C::OperationTimedOut | C::RequestTimedOut) => ErrorKind::Timeout,
        Some(
            C::BrokerTransportFailure
            | C::AllBrokersDown
            | C::Resolve
            | C::NotLeaderForPartition
            | C::LeaderNotAvailable
            | C::BrokerNotAvailable
            | C::NetworkException
            | C::CoordinatorLoadInProgress
            | C::CoordinatorNotAvailable
            | C::NotCoordinator
            | C::WaitingForCoordinator
            | C::RebalanceInProgress
            | C::QueueFull,
        ) => ErrorKind::Connection,
        Some(C::InvalidConfig | C::InvalidReplicationFactor | C::InvalidPartitions | C::PolicyViolation) => {
            ErrorKind::Configuration
        }
        _ => ErrorKind::Rejected,
    }
}

/// What was to be done, and why it could not be.
pub(crate) fn error(what: &str, cause: &KafkaError) -> Error {
    let code = match cause {
        // The client does not count it among those that have one.
        KafkaError::AdminOp(code) => Some(*code),
        cause => cause.rdkafka_error_code(),
    };
    let kind = kind(code);
    let next = match kind {
        ErrorKind::Connection | ErrorKind::Timeout => "; see that the brokers are there",
        ErrorKind::Unauthorized => "; see user, password and the access lists of the brokers",
        _ => "",
    };
    let error = Error::new(kind, format!("{what}{next}"));
    match code {
        // The crate's own words name its internals.
        Some(code) => error.with_source(Cause(code)),
        None => error.with_source(cause.clone()),
    }
}

/// What the brokers or librdkafka said.
#[derive(Debug)]
pub(crate) struct Cause(pub(crate) Code);

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kafka: {}", self.0)
    }
}

impl std::error::Error for Cause {}

pub(crate) fn no_topic(topic: &Topic) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no topic `{topic}` on the Kafka brokers; let the application create it, or correct the name"),
    )
}

pub(crate) fn may_be_stored(topic: &Topic) -> String {
    format!("no answer came for a message for `{topic}`: it may be stored")
}

/// What became of a message that librdkafka gave up.
pub(crate) fn outcome(topic: &Topic, cause: &KafkaError) -> PublishOutcome {
    use Code as C;
    let code = cause.rdkafka_error_code();
    let text = format!("a message for `{topic}` was not confirmed");
    match code {
        Some(C::UnknownTopic | C::UnknownTopicOrPartition | C::UnknownPartition) => {
            PublishOutcome::Rejected { retryable: false, error: no_topic(topic) }
        }
        // Refused before anything was written.
        Some(C::NotEnoughReplicas | C::QueueFull | C::NotLeaderForPartition | C::LeaderNotAvailable) => {
            PublishOutcome::Rejected { retryable: true, error: error(&text, cause) }
        }
        Some(
            C::MessageSizeTooLarge
            | C::InvalidMessageSize
            | C::InvalidTopic
            | C::InvalidRecord
            | C::InvalidTimestamp
            | C::PolicyViolation
            | C::UnsupportedCompressionType
            | C::TopicAuthorizationFailed
            | C::ClusterAuthorizationFailed,
        ) => PublishOutcome::Rejected { retryable: false, error: error(&text, cause) },
        _ => {
            let error = Error::new(ErrorKind::Unknown, may_be_stored(topic));
            PublishOutcome::Unknown(match code {
                Some(code) => error.with_source(Cause(code)),
                None => error.with_source(cause.clone()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrative_call_whose_connection_breaks_is_worth_another_try() {
        for cause in [KafkaError::AdminOp(Code::BrokerTransportFailure), KafkaError::MetadataFetch(Code::BrokerTransportFailure)]
        {
            let error = error("the Kafka brokers do not create topics", &cause);
            assert!(error.is_retryable(), "{cause}");
            assert_eq!(error.to_string(), "the Kafka brokers do not create topics; see that the brokers are there");
        }
    }
}

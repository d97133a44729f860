//! What RabbitMQ and its client say, in words that say what to do next.

use std::time::Duration;

use convoke_core::{Error, ErrorKind};
use lapin::ErrorKind as Kind;

use crate::options::Options;

/// Why no connection came about.
pub(crate) fn connecting(options: &Options, server: &str, error: lapin::Error) -> Error {
    let (kind, text) = match error.kind() {
        Kind::ProtocolError(said) if said.get_id() == 403 => {
            let text = format!(
                "RabbitMQ at {server} refuses the user `{}`; correct user and password in the URL (`amqp://user:password@host`)",
                options.user
            );
            (ErrorKind::Unauthorized, text)
        }
        Kind::ProtocolError(said) if said.get_id() == 530 => {
            let Options { user, vhost, .. } = options;
            let text = format!(
                "RabbitMQ at {server} has no virtual host `{vhost}` for the user `{user}`; make it with `rabbitmqctl add_vhost`, and give the user rights with `rabbitmqctl set_permissions`"
            );
            (ErrorKind::Unauthorized, text)
        }
        Kind::IOError(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            (ErrorKind::Connection, format!("nothing listens at {server}; start RabbitMQ there, or correct the URL"))
        }
        _ => match &options.tls {
            Some(tls) => match tls.refused(&format!("RabbitMQ at {server}"), &error) {
                Some(told) => return told.with_source(error),
                None => (ErrorKind::Connection, format!("RabbitMQ at {server} does not take the connection; {}", tls.perhaps())),
            },
            // A server that is asked for AMQP in clear where it speaks TLS just hangs up.
            None => {
                let text = format!("RabbitMQ at {server} does not take the connection; perhaps it speaks TLS: write `amqps://`");
                (ErrorKind::Connection, text)
            }
        },
    };
    Error::new(kind, text).with_source(error)
}

/// The same, if it took too long.
pub(crate) fn no_answer(server: &str, within: Duration) -> Error {
    Error::new(ErrorKind::Connection, format!("no answer from {server} within {within:?}; is it RabbitMQ, and reachable?"))
}

/// The connection is not there.
pub(crate) fn down(reason: Option<&str>) -> Error {
    let reason = reason.unwrap_or("it was lost");
    Error::new(ErrorKind::Connection, format!("there is no connection to RabbitMQ, which is tried again: {reason}"))
}

/// Something was asked for, and refused.
pub(crate) fn asked(what: &str, error: lapin::Error) -> Error {
    let kind = match code(&error) {
        Some(403) => ErrorKind::Unauthorized,
        Some(404) => ErrorKind::NotFound,
        Some(405 | 406 | 501..=541) => ErrorKind::Configuration,
        _ => ErrorKind::Connection,
    };
    let said = match error.kind() {
        Kind::ProtocolError(said) => said.get_message().to_string(),
        _ => error.to_string(),
    };
    Error::new(kind, format!("RabbitMQ did not {what}: {said}")).with_source(error)
}

/// The code that the server gave.
pub(crate) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        Kind::ProtocolError(said) => Some(said.get_id()),
        _ => None,
    }
}

/// What the server said.
pub(crate) fn said(error: &lapin::Error) -> String {
    match error.kind() {
        Kind::ProtocolError(said) => said.get_message().to_string(),
        _ => error.to_string(),
    }
}

pub(crate) fn no_topic(topic: &str) -> Error {
    let text = format!("there is no topic `{topic}` on RabbitMQ; create it with `Broker::ensure`, or correct the name");
    Error::new(ErrorKind::NotFound, text)
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "this connection is closed; open another")
}

pub(crate) fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the adapter of RabbitMQ does not offer {what}; leave it out"))
}

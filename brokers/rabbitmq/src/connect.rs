//! One connection to one of the servers.

use std::time::Duration;

use convoke_broker_common::Tls;
use convoke_core::{Error, ErrorKind};
use lapin::tcp::{AMQPUriTcpExt, OwnedIdentity, OwnedTLSConfig};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Connection, ConnectionProperties};

use crate::failure;
use crate::options::Options;

/// Connects to the server of this number, counted around. `role` stands beside the application's name in the server's list.
pub(crate) async fn connect(
    options: &Options,
    app: &str,
    role: &str,
    number: usize,
    within: Duration,
) -> Result<Connection, Error> {
    let server = &options.servers[number % options.servers.len()];
    let tls = tls(options)?;
    let runtime = lapin::runtime::default_runtime()
        .map_err(|error| Error::new(ErrorKind::Internal, "RabbitMQ's client needs a tokio runtime").with_source(error))?;
    let properties = ConnectionProperties::default().with_connection_name(format!("{app} ({role})").into());
    let opening = Connection::connector(
        uri(options, server),
        runtime,
        async move |uri: AMQPUri, runtime| {
            quiet();
            uri.connect_with_config_async(tls.as_ref(), &runtime).await.map_err(lapin::Error::from)
        },
        properties,
    );
    match tokio::time::timeout(within, opening).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(failure::connecting(options, server, error)),
        Err(_) => Err(failure::no_answer(server, within)),
    }
}

/// The client logs messages that come back, payload and all, on the thread on which it connects. What is worth knowing of a
/// connection this adapter says itself.
fn quiet() {
    std::mem::forget(tracing::dispatcher::set_default(&tracing::Dispatch::none()));
}

fn uri(options: &Options, server: &str) -> AMQPUri {
    let (host, port) = server.rsplit_once(':').unwrap_or((server, "5672"));
    AMQPUri {
        scheme: if options.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: options.user.clone(), password: options.password.reveal().to_owned() },
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port.parse().unwrap_or(5672),
        },
        vhost: options.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(u16::try_from(options.heartbeat.as_secs()).unwrap_or(u16::MAX)),
            ..AMQPQueryString::default()
        },
    }
}

fn tls(options: &Options) -> Result<OwnedTLSConfig, Error> {
    let files = options.tls.as_ref().map(Tls::read).transpose()?.unwrap_or_default();
    let identity = files.identity.map(|(pem, key)| OwnedIdentity::PKCS8 { pem, key });
    Ok(OwnedTLSConfig { identity, cert_chain: files.ca.map(|pem| String::from_utf8_lossy(&pem).into_owned()) })
}

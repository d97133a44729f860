//! From a URL to a broker.

use std::sync::Arc;

use convoke_core::broker::{Broker, BrokerConfig, BrokerFactory, BrokerUrl};
use convoke_core::{Error, ErrorKind};

/// Opens the broker that `url` names, by the factories of the registry.
pub(crate) async fn open(url: &str, app: &str, factories: &[&'static BrokerFactory]) -> Result<Arc<dyn Broker>, Error> {
    let url = BrokerUrl::parse(url)?;
    let factory = factories.iter().find(|factory| factory.schemes.contains(&url.scheme()));
    let Some(factory) = factory else {
        return Err(Error::new(ErrorKind::InvalidUrl, unknown_scheme(url.scheme(), factories)));
    };
    if factory.is_planned() {
        let text = format!("there is no adapter for `{}://` yet; {}", url.scheme(), known(factories));
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let Some(open) = factory.open else {
        let text = format!(
            "`{}://` needs the cargo feature `{feature}`: `cargo add convoke --features {feature}`",
            url.scheme(),
            feature = factory.feature
        );
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    let shown = url.to_string();
    open(BrokerConfig::new(url, app))
        .await
        .map_err(|error| Error::new(error.kind(), format!("`{shown}` cannot be opened")).with_source(error))
}

fn unknown_scheme(scheme: &str, factories: &[&'static BrokerFactory]) -> String {
    if factories.is_empty() {
        return format!(
            "no broker is linked into this program, so `{scheme}://` means nothing; use the `convoke` crate, or `App::broker`"
        );
    }
    format!("no broker is called `{scheme}://`; {}", known(factories))
}

fn known(factories: &[&'static BrokerFactory]) -> String {
    let known = factories.iter().filter(|factory| !factory.is_planned());
    let examples: Vec<_> = known.map(|factory| format!("`{}`", factory.example)).collect();
    format!("a URL looks like one of {}", examples.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    static MEMORY: BrokerFactory = BrokerFactory::new(&["memory"], "memory", "memory://", None);
    static KAFKA: BrokerFactory = BrokerFactory::new(&["kafka", "kafka+tls"], "kafka", "kafka://localhost:9092", None);

    static NATS: BrokerFactory = BrokerFactory::planned(&["nats"], "nats://localhost:4222");

    async fn refused(url: &str) -> Error {
        let Err(error) = open(url, "shop", &[&MEMORY, &KAFKA, &NATS]).await else { panic!("{url} was opened") };
        error
    }

    #[tokio::test]
    async fn a_url_whose_feature_is_off_is_answered_with_the_feature() {
        let error = refused("kafka+tls://ada:hush@localhost").await;
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.to_string(), "`kafka+tls://` needs the cargo feature `kafka`: `cargo add convoke --features kafka`");
    }

    #[tokio::test]
    async fn an_unknown_scheme_is_answered_with_the_known_ones() {
        let error = refused("kafkaesque://ada:hush@localhost").await;
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
        let text = "no broker is called `kafkaesque://`; a URL looks like one of `memory://`, `kafka://localhost:9092`";
        assert_eq!(error.to_string(), text);
    }

    #[tokio::test]
    async fn a_broker_that_has_no_adapter_yet_is_answered_so() {
        let error = refused("nats://localhost").await;
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let text = "there is no adapter for `nats://` yet; a URL looks like one of `memory://`, `kafka://localhost:9092`";
        assert_eq!(error.to_string(), text);
    }
}

//! The client that asks about the cluster.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::client::{Link, Plain};
use crate::config;
use crate::options::Options;
use crate::stranded::{self, Answer};

/// How long a new one may take to find the servers.
const WITHIN: Duration = Duration::from_secs(2);

/// A client that is replaced if it has lost sight of the servers, see [`stranded`].
pub(crate) struct Asking {
    options: Options,
    app: String,
    link: Arc<Link>,
    client: RwLock<Arc<BaseConsumer<Plain>>>,
}

impl Asking {
    pub(crate) fn new(options: Options, app: String, link: Arc<Link>, client: BaseConsumer<Plain>) -> Self {
        Self { options, app, link, client: RwLock::new(Arc::new(client)) }
    }

    pub(crate) fn client(&self) -> Arc<BaseConsumer<Plain>> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it, if another finds the servers and it still does not. Whether they are there. Blocks.
    pub(crate) fn renew(&self) -> bool {
        let config = config::asking(&self.options, &self.app, None);
        let Ok(fresh) = config.create_with_context::<_, BaseConsumer<Plain>>(Plain(Arc::clone(&self.link))) else { return false };
        if !matches!(stranded::ask(fresh.client(), WITHIN), Answer::Servers(..)) {
            return false;
        }
        if matches!(stranded::ask(self.client().client(), WITHIN), Answer::Servers(..)) {
            return true;
        }
        tracing::warn!("a client has lost sight of the Kafka servers, which are there; another takes its place");
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        true
    }
}

//! What the testkit does with an application before it starts.

use std::sync::Arc;

use convoke_core::broker::Broker;
use convoke_core::{BoxError, BoxHandler, Delivery, Reply};
use tower::{Layer, Service};

use super::{App, Scope};

impl App {
    /// Reaches the broker at this URL, and further ones beside it, and no other, whatever the deployment says.
    pub(crate) fn isolated(mut self, url: impl Into<String>) -> Self {
        self.isolated = true;
        self.url(url)
    }

    /// Puts a layer around every handler itself, inside all others.
    pub(crate) fn innermost_layer<L>(self, layer: L) -> Self
    where
        L: Layer<BoxHandler> + Send + Sync + 'static,
        L::Service: Service<Delivery, Response = Reply> + Clone + Send + 'static,
        <L::Service as Service<Delivery>>::Error: Into<BoxError>,
        <L::Service as Service<Delivery>>::Future: Send,
    {
        self.wrap(Scope::Innermost, layer)
    }

    /// Puts something around each broker, whatever it is; the first has an empty name.
    pub(crate) fn decorated(
        mut self,
        decorate: impl Fn(&str, Arc<dyn Broker>) -> Arc<dyn Broker> + Send + Sync + 'static,
    ) -> Self {
        self.decorate = Some(Box::new(decorate));
        self
    }
}

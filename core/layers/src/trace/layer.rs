use std::borrow::Cow;

use tower::Layer;

use super::Trace;

/// Makes a span of each delivery. See the [module](super).
#[derive(Debug, Clone, Default)]
pub struct TraceLayer {
    system: Option<Cow<'static, str>>,
}

impl TraceLayer {
    /// Without the broker's name: a delivery does not tell from which broker it came.
    #[must_use]
    pub const fn new() -> Self {
        Self { system: None }
    }

    /// Names the broker as `messaging.system`: `kafka`, `rabbitmq`, and for others, for which the conventions have no name, one
    /// of their own such as `nats`, `redis` or `memory`.
    #[must_use]
    pub fn system(mut self, system: impl Into<Cow<'static, str>>) -> Self {
        self.system = Some(system.into());
        self
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Trace::new(inner, self.system.clone())
    }
}

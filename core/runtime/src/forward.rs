//! What a broker around a broker leaves to the one within.

/// The methods of `Broker` that a broker around `self.inner` has no part in. Written without `async_trait`, whose shape this is: the
/// runtime needs that macro for nothing else.
macro_rules! forward_to_inner {
    () => {
        fn capabilities(&self) -> &convoke_core::broker::Capabilities {
            self.inner.capabilities()
        }

        fn check_native(&self, said: &[convoke_core::broker::Native]) -> Result<(), convoke_core::Error> {
            self.inner.check_native(said)
        }

        fn check_topology(&self, topology: &convoke_core::broker::Topology) -> Result<(), convoke_core::Error> {
            self.inner.check_topology(topology)
        }

        fn topics<'a, 'f>(&'a self) -> convoke_core::BoxFuture<'f, Result<Vec<(convoke_core::Topic, u32)>, convoke_core::Error>>
        where
            'a: 'f,
            Self: 'f,
        {
            self.inner.topics()
        }

        fn lag<'a, 'b, 'c, 'f>(
            &'a self,
            group: &'b str,
            topics: &'c [convoke_core::Topic],
        ) -> convoke_core::BoxFuture<'f, Result<convoke_core::broker::Lag, convoke_core::Error>>
        where
            'a: 'f,
            'b: 'f,
            'c: 'f,
            Self: 'f,
        {
            self.inner.lag(group, topics)
        }

        fn health(&self) -> convoke_core::broker::Health {
            self.inner.health()
        }

        fn close<'a, 'f>(&'a self, within: std::time::Duration) -> convoke_core::BoxFuture<'f, convoke_core::broker::CloseReport>
        where
            'a: 'f,
            Self: 'f,
        {
            self.inner.close(within)
        }

        fn faults(&self) -> Option<&dyn convoke_core::broker::Faults> {
            self.inner.faults()
        }

        fn native(&self) -> &(dyn std::any::Any + Send + Sync) {
            self.inner.native()
        }
    };
}
pub(crate) use forward_to_inner;

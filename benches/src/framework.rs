//! The way through convoke.

use std::sync::Arc;
use std::time::Duration;

use convoke::memory::MemoryBroker;
use convoke::{App, AppHandle, BoxError, HandlerDef, Registry, handler};
use tower::ServiceBuilder;

use crate::layer::Pass;
use crate::plan::{Arrangement, Layers, Plan};
use crate::quote::{Quote, done, tally, waits};

#[handler(order = key, timeout = "30s", retry(attempts = 5, backoff = "200ms..30s"))]
async fn price(quote: Quote) {
    tally(&quote);
    if waits() {
        tokio::task::yield_now().await;
    }
}

pub(crate) struct Ready(AppHandle);

pub(crate) async fn prepare(broker: Arc<MemoryBroker>, plan: &Plan) -> Result<Ready, BoxError> {
    let mut registry = Registry::collect();
    let template = registry.handlers.iter().find(|handler| handler.name == "price").copied();
    let template = template.ok_or("the handler of the benches is not linked")?;
    registry.handlers = (0..plan.handlers).map(|index| of(template, plan, index)).collect();
    let mut app = App::new("benches").quiet().registry(registry).broker(broker);
    app = match plan.layers {
        Layers::Each(count) => (0..count).fold(app, |app, _| app.layer(Pass)),
        Layers::Stack => app.layer(ServiceBuilder::new().layer(Pass).layer(Pass).layer(Pass).layer(Pass).into_inner()),
    };
    Ok(Ready(app.start().await?))
}

/// One handler like the template, with a name and a topic of its own. It lives as long as the program, as handlers do.
fn of(template: &'static HandlerDef, plan: &Plan, index: u64) -> &'static HandlerDef {
    let mut handler = *template;
    handler.name = format!("price-{index}").leak();
    handler.options.concurrency = plan.concurrency;
    handler.options.topics = vec![&*plan.topic(index).to_owned().leak()].leak();
    if plan.arrangement == Arrangement::Shared {
        handler.options.group = Some("quotes");
        handler.options.lane = Some("quotes");
    }
    Box::leak(Box::new(handler))
}

impl Ready {
    pub(crate) async fn drain(&self) {
        done().await;
        self.0.settled().await;
    }

    pub(crate) async fn finish(self) -> Result<(), BoxError> {
        let status = self.0.status().await;
        for handler in &status.handlers {
            if handler.failed + handler.dead + handler.dropped + handler.skipped > 0 || handler.in_flight > 0 {
                return Err(format!("void: {handler:?}").into());
            }
        }
        let report = tokio::time::timeout(Duration::from_secs(60), self.0.drain()).await?;
        if report.clean { Ok(()) } else { Err(format!("void: {report:?}").into()) }
    }
}

//! A framework that re-exports convoke, and an application that knows nothing but the framework.

mod framework {
    pub mod reexports {
        pub use convoke as events;
    }
}

/// Hides the real crate: whatever names `::convoke` in spite of `crate = …` fails.
mod application {
    use serde::{Deserialize, Serialize};

    use crate::framework::reexports::events::prelude::*;

    #[event(topic = "orders.paid", key = order_id, crate = crate::framework::reexports::events)]
    #[derive(Serialize, Deserialize)]
    pub struct OrderPaid {
        pub order_id: u64,
    }

    #[handler(crate = crate::framework::reexports::events)]
    pub async fn reserve(paid: OrderPaid, meta: Meta<'_>) -> Result<(), std::io::Error> {
        let _ = (paid.order_id, meta.id());
        Ok(())
    }
}

fn main() {
    let registry = framework::reexports::events::Registry::collect();
    assert_eq!(registry.events.len(), 1);
    assert_eq!(registry.handlers.len(), 1);
    drop(application::reserve);
}

//! A framework that re-exports convoke, and an application that knows nothing but the framework.

/// What the company's applications depend on.
pub mod framework {
    #![allow(missing_docs)]
    pub mod events {
        pub use convoke::{Registry, prelude};

        /// Stands in the way of the real one, so that it shows which of the two generated code has named.
        pub mod __private {
            pub use convoke::__private::*;

            pub const fn event<T: Event>() -> Entry {
                const { Entry::Event(&EventDef::new::<T>("through.the.framework", Location::here("", 1, ""))) }
            }
        }
    }
}

/// One of them.
pub mod application {
    #![allow(missing_docs)]
    use serde::{Deserialize, Serialize};

    use crate::framework::events::prelude::*;

    #[event(topic = "orders.paid", key = order_id, crate = crate::framework::events)]
    #[derive(Debug, Serialize, Deserialize)]
    pub struct OrderPaid {
        pub order_id: u64,
    }

    #[handler(crate = crate::framework::events)]
    pub async fn reserve(paid: OrderPaid, meta: Meta<'_>) {
        let _ = (paid.order_id, meta.id());
    }
}

#[test]
fn generated_code_names_the_path_it_was_given() {
    let registry = framework::events::Registry::collect();
    assert_eq!(registry.events[0].topic, "through.the.framework");
    assert_eq!(registry.handlers.len(), 1);
    let _ = application::reserve;
}

//! Handlers of a library that nothing calls.

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

/// An order was paid.
#[event(topic = "orders.paid", key = order_id)]
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderPaid {
    /// Which.
    pub order_id: u64,
}

#[handler]
pub async fn reserve(_paid: OrderPaid) {}

pub mod billing {
    use super::*;

    #[handler]
    pub async fn refund(_paid: OrderPaid) {}
}

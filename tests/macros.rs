//! What `#[event]` and `#[handler]` register, and how what they register behaves, without a runtime.

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", key = customer_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    customer_id: String,
}

#[event(topic = "stock.reserved", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StockReserved {
    order_id: u64,
}

#[derive(Clone, Debug)]
struct Stock;

#[derive(Debug)]
struct E;
impl std::fmt::Display for E {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("e")
    }
}
impl std::error::Error for E {}

/// Reserves stock for a paid order.
#[handler(group = "warehouse", concurrency = 16, timeout = "30s", retry(attempts = 5, backoff = "200ms..30s"))]
async fn reserve(paid: OrderPaid, State(_stock): State<Stock>, meta: Meta<'_>) -> Result<StockReserved, E> {
    tokio::task::yield_now().await;
    let _ = meta.id();
    Ok(StockReserved { order_id: paid.order_id })
}

#[test]
fn x() {
    println!("{:#?}", convoke::Registry::collect());
}

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

struct Order;

#[handler(batch(size = 100, wait = "50ms"))]
async fn reserve(orders: Batch<Order>) {
    let _ = orders;
}

fn main() {}

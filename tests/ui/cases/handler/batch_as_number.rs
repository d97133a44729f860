use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler(batch = 100)]
async fn reserve(_paid: Batch<OrderPaid>) {}

fn main() {}

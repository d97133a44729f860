use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler]
async fn reserve(_paid: OrderPaid, retries: u32) {
    let _ = retries;
}

fn main() {}

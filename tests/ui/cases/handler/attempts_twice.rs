use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler(retry(attempts = 3, attempts = 5))]
async fn reserve(_paid: OrderPaid) {}

fn main() {}

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler(memory(revoke, lease = "1s"), rabbitmq(prefetch = 1.5))]
async fn reserve(_paid: OrderPaid) {}

fn main() {}

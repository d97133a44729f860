use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

async fn publish(publisher: Publisher) {
    let _ = publisher.publish(OrderPaid { order_id: 1 }).await;
}

fn main() {}

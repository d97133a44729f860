use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[event(topic = "orders.sent")]
#[derive(Serialize, Deserialize)]
struct OrderSent {
    order_id: u64,
}

#[handler]
async fn reserve(_paid: OrderPaid, _sent: OrderSent) {}

fn main() {}

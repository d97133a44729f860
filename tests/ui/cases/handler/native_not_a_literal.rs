use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler(kafka(assignor = range))]
async fn reserve(_paid: OrderPaid) {}

fn main() {}

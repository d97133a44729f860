use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    id: u64,
}

#[handler(memory(partitions = 3))]
async fn take(_order: OrderPaid) {}

fn main() {}

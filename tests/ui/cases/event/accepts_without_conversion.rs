use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct PaidV1 {
    order_id: u64,
}

#[event(topic = "orders.paid", version = 3, accepts(1 = PaidV1))]
#[derive(Serialize, Deserialize)]
struct Paid {
    order_id: u64,
    cents: u64,
}

fn main() {}

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct PaidV1 {
    order_id: u64,
}

fn upcast(old: PaidV1) -> u64 {
    old.order_id
}

#[event(topic = "orders.paid", version = 3, accepts(1 = upcast))]
#[derive(Serialize, Deserialize)]
struct Paid {
    order_id: u64,
    cents: u64,
}

fn main() {}

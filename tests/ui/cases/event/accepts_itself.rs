use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct PaidV1 {
    order_id: u64,
}

impl From<PaidV1> for Paid {
    fn from(old: PaidV1) -> Self {
        Self { order_id: old.order_id, cents: 0 }
    }
}

#[event(topic = "orders.paid", version = 3, accepts(3 = PaidV1, "orders.paid.v3" = PaidV1))]
#[derive(Serialize, Deserialize)]
struct Paid {
    order_id: u64,
    cents: u64,
}

fn main() {}

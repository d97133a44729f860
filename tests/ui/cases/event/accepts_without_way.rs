use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct PaidV1 {
    order_id: u64,
}

#[derive(Serialize, Deserialize)]
struct PaidV2;

impl From<PaidV2> for Paid {
    fn from(_old: PaidV2) -> Self {
        Self { order_id: 0, cents: 0 }
    }
}

#[event(topic = "orders.paid", version = 3, accepts(1 = PaidV1, 2 = PaidV2))]
#[derive(Serialize, Deserialize)]
struct Paid {
    order_id: u64,
    cents: u64,
}

fn main() {}

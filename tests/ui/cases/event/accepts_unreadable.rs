use convoke::prelude::*;
use serde::{Deserialize, Serialize};

struct PaidV1 {
    order_id: u64,
}

impl From<PaidV1> for Paid {
    fn from(old: PaidV1) -> Self {
        Self { order_id: old.order_id }
    }
}

fn upcast(old: PaidV1) -> Paid {
    old.into()
}

#[event(topic = "orders.paid", version = 3, accepts(1 = PaidV1, 2 = upcast))]
#[derive(Serialize, Deserialize)]
struct Paid {
    order_id: u64,
}

fn main() {}

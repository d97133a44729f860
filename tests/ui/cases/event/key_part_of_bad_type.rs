use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", key = (order_id, total))]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    total: f64,
}

fn main() {}

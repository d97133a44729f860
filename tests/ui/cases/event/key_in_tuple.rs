use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", key = (order_id, tennant))]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    tenant: String,
}

fn main() {}

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", version = -1)]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    customer_id: String,
}

fn main() {}

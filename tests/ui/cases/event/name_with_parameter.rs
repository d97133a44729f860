use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.{customer_id}", name = "orders.{customer_id}")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    customer_id: String,
}

fn main() {}

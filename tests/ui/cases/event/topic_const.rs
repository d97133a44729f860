use convoke::prelude::*;
use serde::{Deserialize, Serialize};

const TOPIC: &str = "orders.paid";

#[event(topic = TOPIC)]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    customer_id: String,
}

fn main() {}

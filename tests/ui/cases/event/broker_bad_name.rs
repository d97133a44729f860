use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", broker = "the audit")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    customer_id: String,
}

fn main() {}

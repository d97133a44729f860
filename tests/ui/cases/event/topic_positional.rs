use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event("orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    customer_id: String,
}

fn main() {}

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.changed", key = order_id)]
#[derive(Serialize, Deserialize)]
enum OrderChanged {
    Paid { order_id: u64 },
    Sent { order_id: u64 },
}

fn main() {}

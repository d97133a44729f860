use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", key = total)]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    total: f64,
}

fn main() {}

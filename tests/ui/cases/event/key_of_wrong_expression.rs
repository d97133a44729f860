use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", key = self.total * 1.5)]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    total: f64,
}

fn main() {}

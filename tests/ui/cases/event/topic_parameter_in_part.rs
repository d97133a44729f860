use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.eu-{region}", name = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    region: String,
}

fn main() {}

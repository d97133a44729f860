use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.{region}")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    region: String,
}

fn main() {}

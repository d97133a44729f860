use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.{region}", name = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    region: Vec<u8>,
}

fn main() {}

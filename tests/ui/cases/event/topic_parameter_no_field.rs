use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.{regoin}.{kind}", name = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    region: String,
}

fn main() {}

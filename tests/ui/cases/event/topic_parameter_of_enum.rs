use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.{region}", name = "orders.paid")]
#[derive(Serialize, Deserialize)]
enum OrderPaid {
    Cash { region: String },
}

fn main() {}

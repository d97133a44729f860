use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", key = 0)]
#[derive(Serialize, Deserialize)]
struct OrderPaid(u64, String);

fn main() {}

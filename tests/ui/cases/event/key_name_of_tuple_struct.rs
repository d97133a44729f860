use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", key = order_id)]
#[derive(Serialize, Deserialize)]
struct OrderPaid(u64, String);

fn main() {}

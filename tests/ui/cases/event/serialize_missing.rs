use convoke::prelude::*;
use serde::Deserialize;

#[event(topic = "orders.paid")]
#[derive(Deserialize)]
struct OrderPaid {
    order_id: u64,
}

fn main() {}

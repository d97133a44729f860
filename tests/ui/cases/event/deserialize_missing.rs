use convoke::prelude::*;
use serde::Serialize;

#[event(topic = "orders.paid")]
#[derive(Serialize)]
struct OrderPaid {
    order_id: u64,
}

fn main() {}

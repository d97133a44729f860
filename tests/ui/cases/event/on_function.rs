use convoke::prelude::*;

#[event(topic = "orders.paid")]
async fn reserve(_order_id: u64) {}

fn main() {}

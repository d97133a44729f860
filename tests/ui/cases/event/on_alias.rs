use convoke::prelude::*;

#[event(topic = "orders.paid")]
type OrderPaid = u64;

fn main() {}

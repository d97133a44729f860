use convoke::prelude::*;

#[event(topic = "orders.paid")]
const ORDER: u64 = 1;

fn main() {}

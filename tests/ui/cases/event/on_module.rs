use convoke::prelude::*;

#[event(topic = "orders.paid")]
mod orders {}

fn main() {}

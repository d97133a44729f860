use convoke::prelude::*;

#[event(topic = "orders.paid")]
trait OrderPaid {}

fn main() {}

use convoke::prelude::*;

struct OrderPaid;

#[event(topic = "orders.paid")]
impl OrderPaid {}

fn main() {}

use convoke::prelude::*;

#[event(topic = "orders.paid")]
#[derive(Clone, Copy)]
union OrderPaid {
    order_id: u64,
}

fn main() {}

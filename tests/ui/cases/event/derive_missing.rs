use convoke::prelude::*;

#[event(topic = "orders.paid")]
struct OrderPaid {
    order_id: u64,
}

#[handler]
async fn handle(_paid: OrderPaid) {}

fn main() {}

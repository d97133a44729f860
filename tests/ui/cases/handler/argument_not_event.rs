use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

struct Order;

#[handler]
async fn reserve(order: Order) {
    let _ = order;
}

fn main() {}

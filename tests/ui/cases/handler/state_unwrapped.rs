use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[derive(Clone)]
struct Stock;

#[handler]
async fn reserve(_paid: OrderPaid, stock: Stock) {
    let _ = stock;
}

fn main() {}

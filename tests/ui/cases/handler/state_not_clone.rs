use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

struct Stock;

#[handler]
async fn reserve(_paid: OrderPaid, State(stock): State<Stock>) {
    let _ = stock;
}

fn main() {}

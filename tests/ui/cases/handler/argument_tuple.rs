use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler]
async fn reserve((paid, meta): (OrderPaid, Meta<'_>)) {
    let _ = (paid, meta);
}

fn main() {}

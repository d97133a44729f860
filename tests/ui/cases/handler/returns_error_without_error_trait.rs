use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[derive(Debug)]
struct OutOfStock;

#[handler]
async fn reserve(_paid: OrderPaid) -> Result<(), OutOfStock> {
    Err(OutOfStock)
}

fn main() {}

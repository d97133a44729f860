use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler]
async fn reserve(paid: OrderPaid) {
    let _: u8 = paid.order_id.try_into()?;
}

fn main() {}

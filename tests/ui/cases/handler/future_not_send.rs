use std::rc::Rc;

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler]
async fn reserve(paid: OrderPaid) {
    let count = Rc::new(paid.order_id);
    tokio::task::yield_now().await;
    drop(count);
}

fn main() {}

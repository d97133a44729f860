use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

use std::sync::{Arc, Mutex};

#[handler]
async fn reserve(_paid: OrderPaid, State(stock): State<Arc<Mutex<u64>>>) {
    let stock = stock.lock().unwrap();
    tokio::task::yield_now().await;
    drop(stock);
}

fn main() {}

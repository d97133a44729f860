use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(key = order_id)]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler]
async fn handle(_paid: OrderPaid) {}

fn main() {}

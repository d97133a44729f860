use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

struct Stock;

impl Stock {
    #[handler]
    async fn reserve(self, _paid: OrderPaid) {}
}

fn main() {}

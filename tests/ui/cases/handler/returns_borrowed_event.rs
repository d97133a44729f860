use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

struct Receipt<'a> {
    group: &'a str,
}

#[handler]
async fn reserve(meta: Meta<'_>, _paid: OrderPaid) -> Receipt<'_> {
    Receipt { group: meta.group() }
}

fn main() {}

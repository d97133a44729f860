use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

struct Receipt;

#[handler]
async fn reserve(paid: OrderPaid) -> Result<(OrderPaid, Option<Receipt>), std::io::Error> {
    Ok((paid, None))
}

fn main() {}

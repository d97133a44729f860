use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[derive(Debug)]
struct OutOfStock;

type StockResult<T> = Result<T, OutOfStock>;

#[handler]
async fn reserve(_paid: OrderPaid) -> StockResult<()> {
    Err(OutOfStock)
}

fn main() {}

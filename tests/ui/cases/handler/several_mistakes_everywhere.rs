use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[handler(gruop = "warehouse", retry(atempts = 3, backoff = "soon"), order = random, topic = "a b")]
fn reserve<'a>(_meta: Meta<'a>, _paid: impl Event) -> impl Send {}

fn main() {}

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name.a.very.long.name")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    customer_id: String,
}

fn main() {}

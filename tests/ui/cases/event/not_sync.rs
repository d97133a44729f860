use convoke::prelude::*;
use serde::{Deserialize, Serialize};

use std::cell::Cell;

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: Cell<u64>,
}

fn main() {}

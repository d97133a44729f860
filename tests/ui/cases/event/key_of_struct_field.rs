use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Customer {
    id: u64,
}

#[event(topic = "orders.paid", key = customer)]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    customer: Customer,
}

fn main() {}

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

struct Avro;

#[event(topic = "orders.paid", codec = Avro)]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    customer_id: String,
}

fn main() {}

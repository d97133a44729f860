use serde::{Deserialize, Serialize};

#[convoke::event(topic = "orders.paid", kafka(cleanup = compact))]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    id: u64,
}

fn main() {}

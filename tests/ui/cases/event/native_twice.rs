use serde::{Deserialize, Serialize};

#[convoke::event(topic = "orders.paid", kafka(retention = "7d", retention = "1d"))]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    id: u64,
}

fn main() {}

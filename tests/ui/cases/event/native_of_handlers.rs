use serde::{Deserialize, Serialize};

#[convoke::event(topic = "orders.paid", memory(revoke = "1s"))]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    id: u64,
}

fn main() {}

use serde::{Deserialize, Serialize};

#[convoke::event(topic = "orders.paid", colour = "red")]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    id: u64,
}

fn main() {}

use serde::{Deserialize, Serialize};

#[convoke::event(topic = "orders.paid", memory(partition = 3))]
#[derive(Serialize, Deserialize)]
struct OrderPaid {
    id: u64,
}

fn main() {}

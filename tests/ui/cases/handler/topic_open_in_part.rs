use convoke::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid")]
#[derive(Serialize, Deserialize)]
struct OrderPaid;

#[handler(topic = "orders.eu*")]
async fn first(_paid: OrderPaid) {}

#[handler(topics("{a}.{a}", "orders.*.late"))]
async fn second(_paid: OrderPaid) {}

fn main() {}

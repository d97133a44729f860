use convoke::prelude::*;

struct Order;

async fn publish(publisher: Publisher) {
    let _ = publisher.publish(&Order).await;
}

fn main() {}

//! An application on the skeleton.

use std::sync::Arc;

use convoke::prelude::*;
use convoke_skeleton::{Skeleton, World};
use serde::{Deserialize, Serialize};

#[event(topic = "orders.paid", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
}

#[event(topic = "stock.reserved", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StockReserved {
    order_id: u64,
}

#[handler(group = "warehouse")]
async fn reserve(paid: OrderPaid) -> StockReserved {
    StockReserved { order_id: paid.order_id }
}

// ANCHOR: application
#[tokio::test]
async fn an_application_runs_on_a_broker_that_it_has_opened() -> TestResult {
    let world = World::new();
    let app = App::new("shop").broker(Arc::new(Skeleton::connect(&world))).start().await?;
    app.publisher().publish(&OrderPaid { order_id: 7 }).await?;
    app.settled().await;
    assert!(app.drain().await.clean);
    assert_eq!(world.messages("stock.reserved").len(), 1);
    Ok(())
}
// ANCHOR_END: application

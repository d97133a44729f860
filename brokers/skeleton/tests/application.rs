//! An application on the skeleton.

use std::sync::Arc;
use std::time::Duration;

use convoke::ErrorKind;
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

fn on(world: &Arc<World>) -> impl Fn() -> App + Send + Sync + 'static {
    let world = Arc::clone(world);
    move || App::new("shop").broker(Arc::new(Skeleton::connect(&world)))
}

#[tokio::test]
async fn a_test_on_it_refuses_by_name_the_faults_that_it_cannot_make() -> TestResult {
    let app = TestApp::start(on(&World::new())).await?;
    let cut = app.disconnect(Duration::from_secs(3)).unwrap_err();
    let repeat = app.repeat_next("reserve").unwrap_err();
    assert_eq!((cut.kind(), repeat.kind()), (ErrorKind::Unsupported, ErrorKind::Unsupported));
    let instead = "run this test on memory://, or do it to the server itself";
    assert_eq!(cut.to_string(), format!("skeleton cannot be made to fail by `Cut {{ down: 3s }}`; {instead}"));
    let named = "skeleton cannot be made to fail by `Repeat { group: \"warehouse\", count: 1 }`";
    assert_eq!(repeat.to_string(), format!("{named}; {instead}"));
    Ok(())
}

#[tokio::test]
async fn the_faults_that_no_broker_is_needed_for_work_on_it() -> TestResult {
    let app = TestApp::start(on(&World::new())).await?;
    app.fail_next("reserve", "the warehouse is closed")?;
    app.publishing_down(Duration::from_millis(100));
    app.publish(&OrderPaid { order_id: 7 }).await?;
    app.settled().await;
    app.retried::<OrderPaid>("reserve").assert_count(1);
    let app = app.restart().await?;
    app.publish(&OrderPaid { order_id: 8 }).await?;
    app.settled().await;
    app.published::<StockReserved>().assert_values(|reserved| reserved.order_id, [7, 8]);
    Ok(())
}

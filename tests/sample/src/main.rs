use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

/// An order was paid.
#[event(topic = "orders.paid", key = customer_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct OrderPaid {
    order_id: u64,
    customer_id: String,
    cents: u64,
}

/// Stock was set aside for an order.
#[event(topic = "stock.reserved", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StockReserved {
    order_id: u64,
}

/// Reserves stock for a paid order.
#[handler(group = "warehouse", concurrency = 16, timeout = "30s", retry(attempts = 5, backoff = "200ms..30s"))]
async fn reserve(paid: OrderPaid, State(stock): State<Stock>) -> Result<StockReserved, StockError> {
    stock.reserve(paid.order_id).await?;
    Ok(StockReserved { order_id: paid.order_id }) // published, and confirmed, before `paid` is acknowledged
}

/// A shelf with room for a thousand orders. Reserving for the same order twice changes nothing.
#[derive(Clone, Default)]
struct Stock(Arc<Mutex<BTreeSet<u64>>>);

impl Stock {
    async fn reserve(&self, order_id: u64) -> Result<(), StockError> {
        let mut reserved = self.0.lock().map_err(|_| StockError)?;
        if reserved.len() == 1000 && !reserved.contains(&order_id) {
            return Err(StockError); // tried again with backoff, then sent to the dead-letter topic
        }
        reserved.insert(order_id);
        Ok(())
    }
}

#[derive(Debug)]
struct StockError;

impl fmt::Display for StockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is left in stock")
    }
}

impl std::error::Error for StockError {}

fn app() -> App {
    App::new("shop").state(Stock::default())
}

#[tokio::main]
async fn main() -> Result<(), convoke::Error> {
    app()
        .from_env()? // CONVOKE_BROKER, default memory://
        .run() // until SIGINT or SIGTERM, then drains
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[convoke::test(app)]
    async fn paying_reserves_stock(app: TestApp) -> TestResult {
        app.publish(&OrderPaid { order_id: 7, customer_id: "ada".into(), cents: 990 }).await?;
        app.settled().await; // quiescence is known, never guessed from a timer
        app.published::<StockReserved>().assert_one(|e| e.order_id == 7);
        Ok(())
    }
}

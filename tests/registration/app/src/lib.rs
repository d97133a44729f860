//! The library of the program's own package.

use convoke::prelude::*;
use serde::{Deserialize, Serialize};

/// An order was sent.
#[event(topic = "orders.sent", key = order_id)]
#[derive(Debug, Serialize, Deserialize)]
pub struct OrderSent {
    /// Which.
    pub order_id: u64,
}

#[handler]
async fn notify(_sent: OrderSent) {}

/// Prints what is bound, or why the application cannot start.
pub async fn tell(app: App) {
    match app.build().await {
        Ok(ready) => print!("{}", ready.table()),
        Err(error) => println!("{error}"),
    }
}

//! Has a handler, and names `shop` in Cargo.toml alone: the number says that something is missing.

use convoke::prelude::*;

#[handler(topic = "orders.*")]
async fn watch(_message: Message) {}

#[tokio::main]
async fn main() {
    app::tell(App::new("counted").expect_handlers(4)).await;
}

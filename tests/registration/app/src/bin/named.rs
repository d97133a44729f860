//! Names both crates: all handlers are there.

use convoke::prelude::*;
use shop as _;

#[handler(topic = "orders.*")]
async fn watch(_message: Message) {}

#[tokio::main]
async fn main() {
    app::tell(App::new("named").expect_handlers(4)).await;
}

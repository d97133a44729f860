//! Lists its handlers, also one with type parameters, and takes no others.

use convoke::prelude::*;

#[handler(group = "wide")]
async fn store<const SHELF: usize>(_sent: app::OrderSent) {}

#[tokio::main]
async fn main() {
    app::tell(App::new("listed").handlers(handlers![store::<3>, shop::reserve, shop::billing::refund])).await;
}

//! Names both crates in Cargo.toml alone: nothing is linked, and that is said.

use convoke::prelude::*;

#[tokio::main]
async fn main() {
    println!("{}", App::new("forgotten").build().await.expect_err("no handler is linked"));
}

use convoke::prelude::*;

#[convoke::test(app)] // here
async fn paying(_app: TestApp) {}

fn app() -> u64 {
    7
}

fn main() {}

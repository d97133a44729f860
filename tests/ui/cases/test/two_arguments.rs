use convoke::prelude::*;

#[convoke::test(app)]
async fn paying(_app: TestApp, _other: TestApp) {}

fn app() -> App {
    App::new("shop")
}

fn main() {}

use convoke::prelude::*;

#[convoke::test(time = real, app)]
async fn paying(_app: TestApp) {}

fn app() -> App {
    App::new("shop")
}

fn main() {}

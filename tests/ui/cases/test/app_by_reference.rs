use convoke::prelude::*;

#[convoke::test(app)]
async fn paying(app: &TestApp) {
    let _ = app;
}

fn app() -> App {
    App::new("shop")
}

fn main() {}

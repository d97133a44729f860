use convoke::prelude::*;

#[convoke::test(app)]
async fn paying(app: App) { // here
    let _ = app;
}

fn app() -> App {
    App::new("shop")
}

fn main() {}

use convoke::prelude::*;

#[convoke::test(app, time = slow, handlers = reserve)]
fn paying() {}

fn app() -> App {
    App::new("shop")
}

fn main() {}

use convoke::prelude::*;

#[convoke::test(app)]
struct Paying;

fn app() -> App {
    App::new("shop")
}

fn main() {}

struct TestApp;

fn app() {}

#[convoke::test(app)]
fn paying(_app: TestApp) {}

fn main() {}

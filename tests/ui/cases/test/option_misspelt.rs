struct TestApp;

fn app() {}

#[convoke::test(app, handler(reserve))]
async fn paying(_app: TestApp) {}

fn main() {}

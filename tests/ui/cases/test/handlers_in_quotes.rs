struct TestApp;

fn app() {}

#[convoke::test(app, handlers("reserve"))]
async fn paying(_app: TestApp) {}

fn main() {}

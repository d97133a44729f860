struct TestApp;

fn app() {}

#[convoke::test(app, time = paused)]
async fn paying(_app: TestApp) {}

fn main() {}

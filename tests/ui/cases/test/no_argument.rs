struct TestApp;

fn app() {}

#[convoke::test(app)]
async fn paying() {}

fn main() {}

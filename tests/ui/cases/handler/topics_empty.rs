use convoke::prelude::*;

#[handler(topics())]
async fn reserve(_message: Message) {}

fn main() {}

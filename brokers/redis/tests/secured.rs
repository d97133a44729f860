//! Passwords, and several servers in a URL.

use convoke_servers::{Kind, secured};

#[tokio::test]
async fn a_password_opens_the_server_and_is_never_shown() {
    secured::passwords(Kind::Redis, convoke_redis::open).await;
}

#[tokio::test]
async fn of_several_servers_the_first_may_be_dead() {
    secured::several(Kind::Redis, convoke_redis::open).await;
}

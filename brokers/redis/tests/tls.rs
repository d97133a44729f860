//! Servers that speak TLS.

use convoke_servers::{Kind, secured};

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_and_not_else() {
    secured::tls(Kind::Redis, convoke_redis::open).await;
}

#[tokio::test]
async fn where_no_tls_is_spoken_it_is_said() {
    secured::no_tls(Kind::Redis, convoke_redis::open).await;
}

#[tokio::test]
async fn a_client_has_a_certificate_where_the_server_wants_one() {
    secured::certificates(Kind::Redis, convoke_redis::open).await;
}

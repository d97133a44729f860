//! Whether the servers are there: asked at once when something went wrong, and now and then.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::client::{Link, Plain};

/// How often they are asked while nothing is known to be wrong: a server that is frozen breaks no connection.
const EVERY: Duration = Duration::from_secs(5);
/// How often while they are away.
const AGAIN: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
/// There in every cluster with groups; whether it is there does not matter.
const ANY: &str = "__consumer_offsets";

/// Asks for as long as the client is there.
pub(crate) fn start(client: &Arc<BaseConsumer<Plain>>, link: &Arc<Link>) -> std::io::Result<()> {
    let (client, link) = (Arc::downgrade(client), Arc::clone(link));
    std::thread::Builder::new().name("kafka-watch".to_owned()).spawn(move || watch(&client, &link)).map(drop)
}

fn watch(client: &Weak<BaseConsumer<Plain>>, link: &Link) {
    let (mut pause, mut asked) = (EVERY, Instant::now());
    while !link.is_closed() {
        let Some(client) = client.upgrade() else { return };
        // What it has to say of its own connections is told here; others' errors are seen after a step at the latest.
        drop(client.poll(STEP));
        if asked.elapsed() < pause && !link.is_in_doubt() {
            continue;
        }
        asked = Instant::now();
        match client.fetch_metadata(Some(ANY), PATIENCE) {
            Ok(_) => {
                link.up();
                pause = EVERY;
            }
            Err(error) => {
                link.down(&error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string()));
                pause = AGAIN;
            }
        }
    }
}

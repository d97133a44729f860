//! What a member says to the others, on the connection that publishes.
//!
//! Behind a flood of messages a word may have to wait. It is not given up meanwhile: the client sends that a channel is closed before
//! what is still to be published on it, and a server to which something is published on a channel that is closed ends the connection,
//! with all that others have published over it.

use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::link::Link;

/// How long it is waited for that a word is sent.
const MOMENT: Duration = Duration::from_millis(200);

/// A channel, with the generation of its connection.
type Place = (u64, Channel);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Voice {
    place: Option<Place>,
    /// The word that is not sent yet, for all that is known. It goes on if nobody waits for it any more.
    saying: Option<JoinHandle<lapin::Result<Place>>>,
}

impl Voice {
    /// Says it, unless what was said before is still not sent. Nobody waits for it, and what fails is said again.
    pub(crate) async fn say(&mut self, publishing: &Link, exchange: String, word: String) {
        let Ok((generation, connection)) = publishing.connection() else { return };
        if !self.is_sent().await {
            return;
        }
        let present = self.place.take().filter(|(of, channel)| *of == generation && channel.status().connected());
        self.saying = Some(tokio::spawn(async move {
            let channel = match present {
                Some((_, channel)) => channel,
                None => connection.create_channel().await?,
            };
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            channel.basic_publish(exchange.into(), "".into(), options, word.as_bytes(), properties).await?;
            Ok((generation, channel))
        }));
        self.is_sent().await;
    }

    /// Waits a moment for what is being said.
    async fn is_sent(&mut self) -> bool {
        let Some(saying) = &mut self.saying else { return true };
        let Ok(said) = timeout(MOMENT, saying).await else { return false };
        (self.saying, self.place) = (None, said.ok().and_then(Result::ok));
        true
    }
}

//! Whether the servers are there: asked at once when something went wrong, and now and then. And whether each client finds them.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;

use crate::client::Link;
use crate::lag::Askers;
use crate::publish::Publishing;
use crate::stranded::{self, Answer, EVERY, Sight};

/// How often they are asked while they are away.
const AGAIN: Duration = Duration::from_millis(500);
/// How often another client tries to find them.
const RENEW: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);

/// Watches for as long as the connection is there.
pub(crate) fn start(publishing: &Arc<Publishing>, askers: &Arc<Askers>, link: &Arc<Link>) -> std::io::Result<()> {
    let (publishing, askers, link) = (Arc::downgrade(publishing), Arc::downgrade(askers), Arc::clone(link));
    std::thread::Builder::new().name("kafka-watch".to_owned()).spawn(move || watch(&publishing, &askers, &link)).map(drop)
}

fn watch(publishing: &Weak<Publishing>, askers: &Weak<Askers>, link: &Link) {
    let (mut pause, mut asked, mut renewed) = (EVERY, Instant::now(), None::<Instant>);
    let mut sight = Sight::default();
    while !link.is_closed() {
        let (Some(publishing), Some(askers)) = (publishing.upgrade(), askers.upgrade()) else { return };
        let client = publishing.asking.client();
        // What it has to say of its own connections is told here; others' errors are seen after a step at the latest.
        drop(client.poll(STEP));
        if asked.elapsed() < pause && !link.is_in_doubt() {
            continue;
        }
        asked = Instant::now();
        let answer = stranded::ask(client.client(), PATIENCE);
        let stranded = sight.note(&answer, asked);
        let mut there = matches!(answer, Answer::Servers(..));
        if stranded && renewed.is_none_or(|at| at.elapsed() >= RENEW) {
            renewed = Some(Instant::now());
            there = publishing.asking.renew();
        }
        if there {
            sight = Sight::default();
            link.up();
            pause = EVERY;
            publishing.look();
            askers.drop_stranded();
        } else {
            publishing.excuse();
            askers.excuse();
            link.down(match &answer {
                Answer::Unreachable(reason) | Answer::Silence(reason) => reason,
                Answer::Nobody | Answer::Servers(..) => "a server says that there is none",
            });
            pause = AGAIN;
        }
    }
}

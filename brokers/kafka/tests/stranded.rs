//! A server that says for a while that there are no servers, as one does that its controller takes for dead.
//!
//! It speaks just enough of the protocol to be asked about the cluster: lengths, requests and answers as in the protocol guide of Apache
//! Kafka, `ApiVersions` v0 and `Metadata` v1.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use convoke_core::broker::{Broker, BrokerConfig, BrokerUrl, Health};
use tokio::sync::watch;

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;

/// A server of this port, which is in the cluster or says that nobody is.
/// It counts how often it was asked.
fn serve(listener: &TcpListener, alone: &Arc<AtomicBool>, asked: &watch::Sender<u32>) {
    let port = listener.local_addr().unwrap().port();
    for stream in listener.incoming().flatten() {
        let (alone, asked) = (Arc::clone(alone), asked.clone());
        std::thread::spawn(move || while answer(&stream, port, &alone, &asked).is_ok() {});
    }
}

fn answer(mut stream: &TcpStream, port: u16, alone: &AtomicBool, asked: &watch::Sender<u32>) -> std::io::Result<()> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut request = vec![0; u32::from_be_bytes(head) as usize];
    stream.read_exact(&mut request)?;
    let word = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    // Behind the number of the request, with which the answer begins, stands the name of the client.
    let (api, version, body) = (word(0), word(2), 10 + usize::try_from(word(8)).unwrap_or(0));
    let mut out = Answer(request[4..8].to_vec());
    match api {
        API_VERSIONS => {
            out.word(if version == 0 { 0 } else { UNSUPPORTED_VERSION }).int(2);
            out.word(METADATA).word(1).word(1).word(API_VERSIONS).word(0).word(0);
        }
        METADATA => {
            asked.send_modify(|asked| *asked += 1);
            match alone.load(SeqCst) {
                true => out.int(0),
                false => out.int(1).int(1).text(b"127.0.0.1").int(i32::from(port)).word(-1),
            };
            out.int(1);
            let topics = i32::from_be_bytes(request[body..body + 4].try_into().unwrap());
            let mut at = body + 4;
            out.int(topics.max(0));
            for _ in 0..topics {
                let end = at + 2 + usize::try_from(word(at)).unwrap();
                // Of one partition, whose leader it is.
                out.word(0).text(&request[at + 2..end]).byte(0).int(1).word(0).int(0).int(1).int(1).int(1).int(1).int(1);
                at = end;
            }
        }
        other => panic!("nobody asked for {other} to be supported"),
    }
    stream.write_all(&u32::try_from(out.0.len()).unwrap().to_be_bytes())?;
    stream.write_all(&out.0)
}

struct Answer(Vec<u8>);

impl Answer {
    fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    fn word(&mut self, word: i16) -> &mut Self {
        self.0.extend(word.to_be_bytes());
        self
    }

    fn int(&mut self, int: i32) -> &mut Self {
        self.0.extend(int.to_be_bytes());
        self
    }

    fn text(&mut self, text: &[u8]) -> &mut Self {
        self.word(i16::try_from(text.len()).unwrap());
        self.0.extend(text);
        self
    }
}

async fn becomes(broker: &Arc<dyn Broker>, up: bool) {
    let wait = async {
        while (broker.health() == Health::Up) != up {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "it is {:?}", broker.health());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_server_has_said_that_there_is_none_finds_it_again() {
    let (listener, alone) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicBool::new(true)));
    let url = format!("kafka://{}", listener.local_addr().unwrap());
    let asked = watch::Sender::new(0);
    let (of_server, counted) = (Arc::clone(&alone), asked.clone());
    std::thread::spawn(move || serve(&listener, &of_server, &counted));
    let config = || BrokerConfig::new(BrokerUrl::parse(&url).unwrap(), "test");
    let mut hasty = config();
    hasty.connect_within = Duration::from_secs(1);
    let error = convoke_kafka::open(hasty).await.err().expect("there is nobody");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("there is no server"), "{error:?}");
    let (mut asked, before) = (asked.subscribe(), *asked.borrow());
    let opening = tokio::spawn(convoke_kafka::open(config()));
    asked.wait_for(|asked| *asked > before).await.unwrap();
    alone.store(false, SeqCst);
    let broker = opening.await.unwrap().unwrap();
    for _ in 0..2 {
        alone.store(true, SeqCst);
        becomes(&broker, false).await;
        alone.store(false, SeqCst);
        becomes(&broker, true).await;
        assert_eq!(broker.topics().await.unwrap(), []);
    }
}

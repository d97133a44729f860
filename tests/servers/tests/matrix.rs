//! The book's page of what each broker can do: from what the adapters declare of a server as it comes, and from the lists of what the
//! suite could not try. `CONVOKE_MATRIX=overwrite cargo test -p convoke-servers --test matrix` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use convoke::broker::{
    AttemptsKept, Broker, BrokerConfig, BrokerUrl, Capabilities, Credit, Delay, Durability, HeaderValues, LeaseKind, OpenBroker,
    Ordering, PublishDelay, SettleBy,
};
use convoke_servers::{Kind, Server};

const PAGE: &str = "book/src/capabilities.md";
const RENEW: &str = "CONVOKE_MATRIX=overwrite cargo test -p convoke-servers --test matrix";

const HEAD: &str = "\
# What each broker can do

This page is generated: the first table from what the adapters declare of [the servers that are tested](real-servers.md), the second from
what the [conformance suite](writing-a-broker.md#the-suite) could not try on them.

## What is declared

An application that asks for what its broker lacks is refused when it is built. Times and sizes are the defaults of the URL's options, or the
server's own. A program reads all of this from `Broker::capabilities()`.
";

const LACKING: &str = "
## What is not tried

The suite has a case or more for each of the [promises](promised.md). Every case passes on every broker, on a real server of each, but for
these, which cannot be tried where it says *no*: the broker has not what the promise is about, or cannot be made to suffer so. What is
tried again on a slow or a broken wire, or while the server falls, is left out here: the embedded broker has neither, and on the others it
is lacking where the same case is. The lists stand in each adapter's `tests/conformance.rs`, and a test fails when one more or less is lacking.
";

/// A row: the field, what it is called, and what it says.
type Row = (&'static str, &'static str, fn(&Capabilities) -> String);

const ROWS: &[Row] = &[
    ("ordering", "order of a key is kept by", |c| {
        word(match c.ordering {
            Ordering::Partition => "partitions with one owner each",
            Ordering::SingleActive => "queues with one active consumer each",
            Ordering::None => "nothing",
            _ => unknown(),
        })
    }),
    ("settle", "messages are settled", |c| {
        word(match c.settle {
            SettleBy::Message => "one by one",
            SettleBy::Watermark => "by position",
            _ => unknown(),
        })
    }),
    ("delay", "a long retry waits", |c| match c.delay {
        Delay::Native { max } => format!("in the broker, {} at most", time(max)),
        Delay::Republish => word("in a topic of the group"),
        Delay::InPlace => word("in the process"),
        _ => word(unknown()),
    }),
    ("publish_delay", "publishing for later", |c| yes(c.publish_delay == PublishDelay::Native)),
    ("attempts", "attempts after a clean restart", |c| {
        word(match c.attempts {
            AttemptsKept::Exact => "exact",
            AttemptsKept::AtLeast => "may come back smaller",
            _ => unknown(),
        })
    }),
    ("marks", "a place for the marks of a death", |c| {
        word(match (c.marks, c.settle) {
            (true, _) => "yes",
            (false, SettleBy::Watermark) => "in the commit",
            _ => "no",
        })
    }),
    ("progress", "room in a commit", |c| c.progress.map_or_else(|| word("–"), |most| format!("{most} characters"))),
    ("stable_positions", "a message keeps its position", |c| yes(c.stable_positions)),
    ("lease", "a delivery expires", |c| match c.lease {
        LeaseKind::None => word("never, while it is connected"),
        LeaseKind::Fixed(term) => format!("after {}", time(term)),
        LeaseKind::Extendable(term) => format!("after {}, and is extended", time(term)),
        _ => word(unknown()),
    }),
    ("credit", "in flight, bounded by", |c| {
        word(match c.credit {
            Credit::MessagesAndBytes => "messages and bytes",
            Credit::Messages => "messages",
            _ => unknown(),
        })
    }),
    ("durability", "a confirmed message is", |c| {
        word(match c.durability {
            Durability::Memory => "in the memory of a process",
            Durability::Accepted => "taken by the server",
            Durability::Stored => "on a disk",
            Durability::Replicated => "on several servers",
            _ => unknown(),
        })
    }),
    ("max_message", "largest message", |c| c.max_message.map_or_else(|| word("no limit"), bytes)),
    ("header_values", "header values", |c| {
        word(match c.header_values {
            HeaderValues::Binary => "bytes",
            HeaderValues::Text => "text, all else is escaped",
            _ => unknown(),
        })
    }),
    ("deduplication", "repeated ids are known", |c| {
        c.deduplication.map_or_else(|| word("no"), |within| format!("for {}", time(within)))
    }),
    ("transactions", "publishing and settling in one transaction", |c| yes(c.transactions)),
    ("start_positions", "a group may begin elsewhere than at the start", |c| yes(c.start_positions)),
    ("patterns", "topics by a pattern", |c| yes(c.patterns)),
    ("broadcast", "every instance gets every message", |c| yes(c.broadcast)),
    ("until_end", "reading to a marked end", |c| yes(c.until_end)),
    ("expiry", "messages may expire", |c| yes(c.expiry)),
    ("reply_to", "an address for answers", |c| yes(c.reply_to)),
    ("drops_unrouted", "what nobody is there for is", |c| word(if c.drops_unrouted { "dropped, and told" } else { "kept" })),
];

fn word(word: &str) -> String {
    word.to_owned()
}

fn yes(yes: bool) -> String {
    word(if yes { "yes" } else { "no" })
}

fn unknown() -> &'static str {
    panic!("a capability says something that this page has no words for; add them to tests/servers/tests/matrix.rs")
}

fn time(time: std::time::Duration) -> String {
    match time.as_secs() {
        day if day % 86_400 == 0 && day > 86_400 => format!("{} days", day / 86_400),
        hour if hour % 3600 == 0 && hour > 0 => format!("{} h", hour / 3600),
        minute if minute % 60 == 0 && minute > 0 => format!("{} min", minute / 60),
        _ => format!("{} s", time.as_secs_f64()),
    }
}

fn bytes(count: usize) -> String {
    match count {
        count if count.is_multiple_of(1 << 20) => format!("{} MiB", count >> 20),
        count if count.is_multiple_of(1 << 10) => format!("{} KiB", count >> 10),
        count if count.is_multiple_of(1_000_000) => format!("{} MB", count / 1_000_000),
        count => format!("{count} bytes"),
    }
}

/// A broker of the page: its column, the folder of its adapter, and what it declares.
struct Column(&'static str, &'static str, Capabilities);

async fn columns() -> Vec<Column> {
    let mut columns = vec![Column("embedded", "memory", convoke::memory::MemoryBroker::new().capabilities().clone())];
    let real: [(&str, Kind, OpenBroker); 4] = [
        ("Kafka", Kind::Kafka, convoke::kafka::open),
        ("NATS", Kind::Nats, convoke::nats::open),
        ("Redis", Kind::Redis, convoke::redis::open),
        ("RabbitMQ", Kind::RabbitMq, convoke::rabbitmq::open),
    ];
    for (name, kind, open) in real {
        // Some of it the server says: how large a message may be, how many servers there are, what a confirmation means.
        let server = Server::shared(kind).await.unwrap();
        let broker: Arc<dyn Broker> = open(BrokerConfig::new(BrokerUrl::parse(server.url()).unwrap(), "matrix")).await.unwrap();
        columns.push(Column(name, kind.name(), broker.capabilities().clone()));
        broker.close(std::time::Duration::from_secs(5)).await;
    }
    columns
}

fn table(first: &str, columns: &[Column], rows: impl Iterator<Item = (String, Vec<String>)>) -> String {
    let mut text = format!("\n| {first} |");
    columns.iter().for_each(|column| write!(text, " {} |", column.0).unwrap());
    writeln!(text, "\n|---|{}", "---|".repeat(columns.len())).unwrap();
    for (name, cells) in rows {
        writeln!(text, "| {name} | {} |", cells.join(" | ")).unwrap();
    }
    text
}

/// The cases that the suite of this adapter could not try: the list `LACKING` in its test.
fn lacking(adapter: &str) -> BTreeSet<String> {
    let test = read(&format!("brokers/{adapter}/tests/conformance.rs"));
    let list = test.split_once("const LACKING: ").and_then(|(_, rest)| rest.split_once("];")).expect("a list `LACKING`").0;
    let cases: BTreeSet<_> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let known = convoke_conformance::cases();
    assert!(!cases.is_empty() && cases.iter().all(|case| known.contains(&&**case)), "{adapter}: {cases:?}");
    cases
}

fn path(of: &str) -> String {
    format!("{}/../../{of}", env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap()
}

/// A case's name as a sentence, which breaks into lines where a name would not.
fn said(case: &str) -> String {
    let (number, what) = case.split_once('_').unwrap();
    format!("D{}: {}", number[1..].trim_start_matches('0'), what.replace('_', " "))
}

fn page(columns: &[Column]) -> String {
    let declared = ROWS.iter().map(|(_, name, say)| (word(name), columns.iter().map(|column| say(&column.2)).collect()));
    let lists: BTreeMap<_, _> = columns.iter().map(|column| (column.1, lacking(column.1))).collect();
    let lacking = convoke_conformance::cases().into_iter().filter(|case| lists.values().any(|list| list.contains(*case)));
    // Once for each case is enough, whatever the weather.
    let in_the_calm = |case: &&str| !convoke_conformance::disturbs_the_wire(case) && !convoke_conformance::fells_the_server(case);
    let lacking = lacking.filter(in_the_calm);
    let lacking = lacking.map(|case| {
        let tried = |column: &Column| word(if lists[column.1].contains(case) { "no" } else { "passes" });
        (said(case), columns.iter().map(tried).collect())
    });
    [HEAD, &table("", columns, declared), LACKING, &table("case", columns, lacking)].concat()
}

#[tokio::test]
async fn the_page_of_what_each_broker_can_do_is_up_to_date() {
    let columns = columns().await;
    let page = page(&columns);
    if std::env::var("CONVOKE_MATRIX").is_ok_and(|wanted| wanted == "overwrite") {
        std::fs::write(path(PAGE), page).unwrap();
        return;
    }
    assert!(read(PAGE) == page, "{PAGE} is out of date; it should be as follows, which `{RENEW}` writes:\n{page}");
}

#[test]
fn nothing_that_is_declared_is_left_out_of_the_page() {
    let fields = format!("{:#?}", Capabilities::minimal("any"));
    let fields = fields.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": ")).map(|(name, _)| name);
    let fields: BTreeSet<_> = fields.filter(|name| !name.starts_with(' ') && *name != "name").collect();
    assert_eq!(ROWS.iter().map(|row| row.0).collect::<BTreeSet<_>>(), fields);
}

//! The words of the attributes: what each one is, and how it is written.

/// A word of an attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) name: &'static str,
    /// What it is, as in "`group` is …".
    what: &'static str,
    /// The legal form, as code.
    pub(crate) form: &'static str,
}

impl Word {
    const fn new(name: &'static str, what: &'static str, form: &'static str) -> Self {
        Self { name, what, form }
    }

    /// What is said whenever it is used in another way.
    pub(crate) fn rule(self) -> String {
        let Self { name, what, form } = self;
        format!("`{name}` is {what}: `{form}`")
    }
}

pub(crate) const ACCEPTS: Word = Word::new("accepts", "a list of older versions", "accepts(1 = OrderPaidV1, 2 = upcast_v2)");
pub(crate) const ATTEMPTS: Word = Word::new("attempts", "a whole number from 1", "attempts = 5");
pub(crate) const BACKOFF: Word =
    Word::new("backoff", "the shortest and the longest delay, or one for all, in quotes", r#"backoff = "200ms..30s""#);
pub(crate) const BARE: Word = Word::new("bare", "a flag, which stands alone", "bare");
pub(crate) const BATCH: Word = Word::new("batch", "a list", r#"batch(size = 100, wait = "50ms")"#);
pub(crate) const BROADCAST: Word = Word::new("broadcast", "a flag, which stands alone", "broadcast");
pub(crate) const TRANSACTION: Word = Word::new("transaction", "a flag, which stands alone", "transaction");
pub(crate) const BROKER: Word = Word::new("broker", "a string", r#"broker = "analytics""#);
pub(crate) const CODEC: Word =
    Word::new("codec", "`json`, `msgpack`, `cbor`, `protobuf`, `raw` or a type that implements `Codec`", "codec = json");
pub(crate) const CONCURRENCY: Word = Word::new("concurrency", "a number from 1 to 65535", "concurrency = 16");
pub(crate) const CRATE: Word = Word::new("crate", "the path to convoke", "crate = framework::convoke");
pub(crate) const DEAD_LETTER: Word = Word::new("dead_letter", "a topic in quotes", r#"dead_letter = "orders.dead""#);
pub(crate) const GROUP: Word = Word::new("group", "a string", r#"group = "warehouse""#);
pub(crate) const HANDLERS: Word = Word::new("handlers", "a list of the names of handlers", "handlers(reserve, notify)");
pub(crate) const HEADER: Word = Word::new("header", "a string", r#"header = "kind""#);
pub(crate) const JITTER: Word = Word::new("jitter", "per cent, from 0 to 100", "jitter = 20");
pub(crate) const KEY: Word = Word::new("key", "a field, a tuple of fields or an expression over `self`", "key = customer_id");
pub(crate) const LANE: Word = Word::new("lane", "a string", r#"lane = "order""#);
pub(crate) const MATCH: Word = Word::new("match", "a list", r#"match(header = "kind", value = "express")"#);
pub(crate) const NAME: Word = Word::new("name", "a string", r#"name = "orders.paid""#);
pub(crate) const ON_RETRY: Word = Word::new("on_retry", "`hold` or `pass`", "on_retry = hold");
pub(crate) const ORDER: Word = Word::new("order", "`key` or `none`", "order = key");
pub(crate) const RETRY: Word = Word::new("retry", "a list", r#"retry(attempts = 5, backoff = "200ms..30s", jitter = 20)"#);
pub(crate) const SIZE: Word = Word::new("size", "a number from 1 to 1000000", "size = 100");
pub(crate) const START: Word = Word::new("start", "`earliest` or `new`", "start = earliest");
pub(crate) const TIME: Word = Word::new("time", "`virtual` or `real`", "time = real");
pub(crate) const TIMEOUT: Word = Word::new("timeout", "a duration in quotes", r#"timeout = "30s""#);
pub(crate) const TOPIC: Word = Word::new("topic", "a topic in quotes", r#"topic = "orders.paid""#);
pub(crate) const TOPICS: Word = Word::new("topics", "a list of topics in quotes", r#"topics("orders.paid", "orders.refunded")"#);
pub(crate) const VALUE: Word = Word::new("value", "a string", r#"value = "express""#);
pub(crate) const VERSION: Word = Word::new("version", "a whole number from 1", "version = 2");
pub(crate) const WAIT: Word = Word::new("wait", "a duration in quotes", r#"wait = "50ms""#);

/// What can stand in a pair of parentheses.
pub(crate) struct Vocabulary {
    /// Whose words these are, as in "`#[handler]` has no option …".
    pub(crate) owner: &'static str,
    pub(crate) words: &'static [Word],
    /// Kinds of broker that have options of their own, which their adapters know.
    pub(crate) brokers: &'static [&'static str],
}

/// The kinds of broker.
const BROKERS: [&str; 5] = ["kafka", "nats", "redis", "rabbitmq", "memory"];

pub(crate) const EVENT_WORDS: Vocabulary =
    Vocabulary { owner: "#[event]", words: &[TOPIC, KEY, NAME, VERSION, CODEC, BARE, BROKER, ACCEPTS, CRATE], brokers: &BROKERS };

pub(crate) const HANDLER_WORDS: Vocabulary = Vocabulary {
    owner: "#[handler]",
    words: &[
        GROUP,
        NAME,
        CONCURRENCY,
        ORDER,
        LANE,
        RETRY,
        ON_RETRY,
        TIMEOUT,
        DEAD_LETTER,
        BATCH,
        TOPIC,
        TOPICS,
        MATCH,
        START,
        BROADCAST,
        TRANSACTION,
        BROKER,
        CRATE,
    ],
    brokers: &BROKERS,
};

pub(crate) const RETRY_WORDS: Vocabulary = Vocabulary { owner: "retry(…)", words: &[ATTEMPTS, BACKOFF, JITTER], brokers: &[] };
pub(crate) const BATCH_WORDS: Vocabulary = Vocabulary { owner: "batch(…)", words: &[SIZE, WAIT], brokers: &[] };
pub(crate) const MATCH_WORDS: Vocabulary = Vocabulary { owner: "match(…)", words: &[HEADER, VALUE], brokers: &[] };
pub(crate) const TEST_WORDS: Vocabulary = Vocabulary { owner: "#[convoke::test]", words: &[HANDLERS, TIME, CRATE], brokers: &[] };

/// What is said of a word that stands in the wrong place: that of another list, or of the other attribute.
pub(crate) fn elsewhere(written: &str, here: &Vocabulary) -> Option<String> {
    let has = |words: &Vocabulary| words.words.iter().find(|word| word.name == written);
    let (event, handler) = (&EVENT_WORDS, &HANDLER_WORDS);
    if here.owner == event.owner
        && let Some(word) = has(handler)
    {
        return Some(format!("`{written}` is an option of `#[handler]`: `#[handler({})]`", word.form));
    }
    if here.owner == event.owner && written == "partitions" {
        return Some(
            "how many partitions a topic is created with is said to one kind of broker: `#[event(kafka(partitions = 24))]`; for all \
             topics its URL says it"
                .to_owned(),
        );
    }
    if here.owner != handler.owner {
        return None;
    }
    let lists = [&RETRY_WORDS, &BATCH_WORDS, &MATCH_WORDS];
    let list = lists.iter().find_map(|list| Some((list.owner, has(list)?)));
    let attribute = || Some((event.owner, has(event)?));
    if let Some((owner, word)) = list {
        return Some(format!("`{written}` stands in `{owner}`: `{}`", owner.replace('…', word.form)));
    }
    attribute().map(|(_, word)| format!("`{written}` is an option of `#[event]`: `#[event({})]`", word.form))
}

//! The chapters of the book, and the README, as documentation: their examples are its tests.

macro_rules! chapters {
    ($($name:ident: $path:literal),* $(,)?) => {
        $(
            #[doc = include_str!($path)]
            pub mod $name {}
        )*
        /// The files that are included, from here.
        pub const CHAPTERS: &[&str] = &[$($path),*];
    };
}

chapters! {
    readme: "../README.md",
    introduction: "src/introduction.md",
    getting_started: "src/getting-started.md",
    events: "src/events.md",
    evolution: "src/evolution.md",
    handlers: "src/handlers.md",
    reading: "src/reading.md",
    errors: "src/errors.md",
    dead_letters: "src/dead-letters.md",
    layers: "src/layers.md",
    configuration: "src/configuration.md",
    testing: "src/testing.md",
    compiler_messages: "src/compiler-messages.md",
    guises: "src/guises.md",
    kafka: "src/kafka.md",
    nats: "src/nats.md",
    real_servers: "src/real-servers.md",
    redis: "src/redis.md",
    rabbitmq: "src/rabbitmq.md",
    capabilities: "src/capabilities.md",
    measured: "src/measured.md",
    promised: "src/promised.md",
    not_yet: "src/not-yet.md",
}

/// Chapters that show code of crates which are compiled and tested elsewhere, and have none of their own.
pub const INCLUDING: &[&str] = &["src/writing-a-broker.md", "src/real-service.md"];

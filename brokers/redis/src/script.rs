//! The scripts, and how they are called.
//!
//! Everything that must not be torn apart is one script: whoever does something to a partition shows its token in the same script,
//! and is refused if another has it.
//!
//! A server without memory refuses what is published, and nothing else: what is taken out of it goes on, so that it gets better.

use std::sync::LazyLock;

use redis::{Cmd, cmd};

/// A script, by its hash.
pub(crate) struct Script {
    code: String,
    hash: String,
}

/// What a script begins with that is not refused for want of memory.
macro_rules! head {
    (frees) => {
        "#!lua flags=allow-oom\n"
    };
    (fills) => {
        "#!lua\n"
    };
}

macro_rules! scripts {
    ($($name:ident: $kind:ident $($file:literal)*;)*) => {
        $(pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(head!($kind) $(, include_str!(concat!("lua/", $file, ".lua")))*)));)*
        static ALL: &[&LazyLock<Script>] = &[$(&$name),*];
    };
}

scripts! {
    BEAT: frees "now" "beat";
    ACQUIRE: frees "now" "acquire";
    RELEASE: frees "release";
    LEAVE: frees "leave";
    READ: frees "now" "read";
    PENDING: frees "now" "hand" "pending";
    AGAIN: frees "now" "hand" "again";
    DUE: frees "now" "hand" "due";
    SETTLE: frees "now" "settle";
    ENSURE: fills "now" "ensure";
    LAG: frees "now" "lag";
    IS_DONE: frees "now" "is_done";
    TRIM: frees "now" "trim";
    ROUTE: fills "route";
    SCHEDULE: fills "schedule";
    PROMOTE: fills "now" "promote";
    DELETE: frees "now" "delete";
}

impl Script {
    fn new(code: &str) -> Self {
        Self { code: code.to_owned(), hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// A call of it with these keys; arguments follow.
    pub(crate) fn call<K: redis::ToRedisArgs>(&self, keys: &[K]) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.hash).arg(keys.len()).arg(keys);
        call
    }
}

/// Has the server know all of them.
pub(crate) fn load() -> impl Iterator<Item = Cmd> {
    ALL.iter().map(|script| {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(&script.code);
        load
    })
}

#!/usr/bin/env bash
# What a newcomer waits for: builds of the same small program with convoke and with ruststream 0.7, side by side.
#
# Usage: benches/build-cost.sh [ROUNDS]      (3; alternating, the median is shown)
# GROWTH="10 100 1000" are the numbers of handlers of the second table; GROWTH="" leaves it out. PLACE is where it builds.
#
# Both have their newcomer's features: ruststream those of its README (macros, memory, json), convoke its defaults. CPU time is user
# and system time of cargo and all that it starts: on a busy machine, look at that, and not at the clock.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rounds=${1:-3}
growth=${GROWTH-10 100 1000}
place=${PLACE:-$root/target/build-cost}
frameworks=(convoke ruststream)
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL= TIMEFORMAT='%R %U %S'
unset CARGO_INCREMENTAL CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG

# program FRAMEWORK HANDLERS: writes an application with so many events and as many handlers
program() {
    local dir=$place/$1/app$2
    mkdir -p "$dir/src"
    {
        printf '[package]\nname = "app%d"\nversion = "0.1.0"\nedition = "2024"\n[dependencies]\n' "$2"
        printf 'serde = { version = "1", features = ["derive"] }\n'
        "$1_needs"
    } >"$dir/Cargo.toml"
    "$1_source" "$2" >"$dir/src/main.rs"
}

convoke_needs() {
    # What is committed, from a repository: as a dependency from a registry, and unlike one by a path, it is not built incrementally.
    printf 'convoke = { git = "file://%s" }\ntokio = { version = "1", features = ["macros", "rt-multi-thread"] }\n' "$root"
}

convoke_source() {
    local i
    printf 'use convoke::prelude::*;\nuse serde::{Deserialize, Serialize};\n'
    for ((i = 0; i < $1; i++)); do
        printf '\n#[event(topic = "orders%d")]\n#[derive(Debug, Serialize, Deserialize)]\nstruct Order%d {\n    id: u64,\n}\n' $i $i
        printf '\n#[handler]\nasync fn handle%d(order: Order%d) {\n    println!("got order {}", order.id);\n}\n' $i $i
    done
    printf '\n#[tokio::main]\nasync fn main() -> Result<(), convoke::Error> {\n    App::new("orders").from_env()?.run().await\n}\n'
}

ruststream_needs() {
    printf 'ruststream = { version = "0.7", features = ["macros", "memory", "json"] }\n'
}

ruststream_source() {
    local i
    printf 'use ruststream::memory::prelude::*;\nuse serde::Deserialize;\n'
    for ((i = 0; i < $1; i++)); do
        printf '\n#[derive(Debug, Deserialize)]\nstruct Order%d {\n    id: u64,\n}\n' $i
        printf '\n#[subscriber("orders%d")]\nasync fn handle%d(order: &Order%d) -> HandlerOutcome {\n' $i $i $i
        printf '    println!("got order {}", order.id);\n    HandlerOutcome::ack()\n}\n'
    done
    printf '\n#[ruststream::app]\nfn app() -> RustStream {\n    RustStream::new(AppInfo::new("orders", "0.1.0"))\n'
    printf '        .with_broker(MemoryBroker::new(), |b| {\n'
    for ((i = 0; i < $1; i++)); do printf '            b.include(handle%d);\n' $i; done
    printf '        })\n}\n'
}

# timed FRAMEWORK WHAT ARGUMENTS...: runs cargo, and notes seconds and CPU seconds
timed() {
    local framework=$1 what=$2 wall user system
    shift 2
    { read -r wall user system; } < <({ time cargo "$@" --manifest-path "$place/$framework/Cargo.toml" >"$place/log" 2>&1 || echo failed; } 2>&1 | tail -1)
    if grep -qE '^error' "$place/log"; then
        cat "$place/log" >&2
        exit 1
    fi
    awk "BEGIN { printf \"%.2f %.2f\n\", $wall, $user + $system }" >>"$place/$framework-$what"
}

# median FILE COLUMN
median() { sort -n -k"$2,$2" "$1" | awk -v c="$2" '{ v[NR] = $c } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

rm -rf "$place"
mkdir -p "$place"
for framework in "${frameworks[@]}"; do
    mkdir -p "$place/$framework"
    printf '[workspace]\nresolver = "3"\nmembers = ["app*"]\n' >"$place/$framework/Cargo.toml"
    for handlers in 1 $growth; do program "$framework" "$handlers"; done
    # Downloads are not measured.
    cargo fetch --quiet --manifest-path "$place/$framework/Cargo.toml"
done

for ((round = 0; round < rounds; round++)); do
    for framework in "${frameworks[@]}"; do
        rm -rf "$place/$framework/target"
        timed "$framework" debug build --package app1
        grep -c '^ *Compiling' "$place/log" >"$place/$framework-crates"
        for ((change = 0; change < 3; change++)); do
            sed -i "s/got [a-z0-9]*order/got ${round}x${change}order/" "$place/$framework/app1/src/main.rs"
            timed "$framework" again build --package app1
        done
        timed "$framework" release build --release --package app1
        for profile in debug release; do
            cp "$place/$framework/target/$profile/app1" "$place/stripped"
            strip "$place/stripped"
            echo "$(stat -c %s "$place/$framework/target/$profile/app1") $(stat -c %s "$place/stripped")" >"$place/$framework-size-$profile"
        done
    done
done

seconds() { echo "$(median "$place/$1-$2" 1) s ($(median "$place/$1-$2" 2) s)"; }
megabytes() { awk '{ printf "%.1f MB (%.1f MB)", $1 / 1e6, $2 / 1e6 }' "$place/$1-size-$2"; }
row() { printf '| %-46s | %22s | %22s |\n' "$@"; }
echo "$(rustc --version), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg), ruststream $(sed -n '/name = "ruststream"/{n;s/version = "\(.*\)"/\1/p}' "$place/ruststream/Cargo.lock")"
echo
row "one handler, median of $rounds" convoke ruststream
row --- ---: ---:
row "crates compiled, the application included" "$(cat "$place/convoke-crates")" "$(cat "$place/ruststream-crates")"
row "clean debug build (CPU)" "$(seconds convoke debug)" "$(seconds ruststream debug)"
row "clean release build (CPU)" "$(seconds convoke release)" "$(seconds ruststream release)"
row "rebuild after a handler was changed (CPU)" "$(seconds convoke again)" "$(seconds ruststream again)"
row "debug binary (stripped)" "$(megabytes convoke debug)" "$(megabytes ruststream debug)"
row "release binary (stripped)" "$(megabytes convoke release)" "$(megabytes ruststream release)"
[ -n "$growth" ] || exit 0

for handlers in 1 $growth; do
    for framework in "${frameworks[@]}"; do
        for command in check build; do
            # The dependencies are there; the application is not.
            timed "$framework" warm $command --package "app$handlers"
            cargo clean --quiet --package "app$handlers" --manifest-path "$place/$framework/Cargo.toml"
            timed "$framework" "$command-$handlers" $command --package "app$handlers"
        done
        echo "// one line more" >>"$place/$framework/app$handlers/src/main.rs"
        sed -i '0,/got [a-z0-9]*order/s//got another order/' "$place/$framework/app$handlers/src/main.rs"
        timed "$framework" "again-$handlers" build --package "app$handlers"
        stat -c '%s' "$place/$framework/target/debug/app$handlers" >"$place/$framework-binary-$handlers"
    done
done

echo
row "the application alone, debug (CPU)" convoke ruststream
row --- ---: ---:
for handlers in 1 $growth; do
    for what in check build again; do
        row "$what, $handlers handlers" "$(seconds convoke "$what-$handlers")" "$(seconds ruststream "$what-$handlers")"
    done
done
set -- $growth
most=${!#}
each() { awk -v a="$(median "$place/$1-build-1" 2)" -v b="$(median "$place/$1-build-$most" 2)" -v n="$most" 'BEGIN { printf "%.1f ms", (b - a) / (n - 1) * 1000 }'; }
size() { awk -v a="$(cat "$place/$1-binary-1")" -v b="$(cat "$place/$1-binary-$most")" -v n="$most" 'BEGIN { printf "%.1f kB", (b - a) / (n - 1) / 1000 }'; }
row "an event and its handler: build, CPU" "$(each convoke)" "$(each ruststream)"
row "an event and its handler: debug binary" "$(size convoke)" "$(size ruststream)"

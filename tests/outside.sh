#!/usr/bin/env bash
# Copies the skeleton of an adapter out of the tree, as the chapter "Writing a broker" says, and runs the conformance suite there.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT

cp -r "$root/brokers/skeleton" "$there/my-broker"
cd "$there/my-broker"
# The manifest of the chapter, to the letter, but for where our crates are until they are published.
awk '/^```toml$/ { toml = 1; next } /^```$/ { toml = 0 } toml' "$root/book/src/writing-a-broker.md" |
    sed -e "s|^convoke = \"0.1\"|convoke = { path = \"$root\" }|" \
        -e "s|^convoke-core = \"0.1\"|convoke-core = { path = \"$root/core/contract\" }|" \
        -e "s|^convoke-conformance = \"0.1\"|convoke-conformance = { path = \"$root/tests/conformance\" }|" >Cargo.toml
sed -i 's/convoke_skeleton/my_broker/' tests/*.rs
cp "$root/Cargo.lock" .
cargo test --target-dir "$root/target"

#!/usr/bin/env bash
# Compiles convoke, with every feature that needs no broker's client, for systems that are not this one, up to linking. Where a target's
# standard library cannot be had, that is said, and nothing is claimed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for target in x86_64-pc-windows-gnu aarch64-apple-darwin; do
    if rustup target add "$target" >/dev/null 2>&1; then
        cargo check --package convoke --target "$target" --features msgpack,cbor,protobuf,config,redrive,schema
    else
        echo "$target: its standard library cannot be had here, so it is not tried" >&2
    fi
done

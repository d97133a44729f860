#!/usr/bin/env bash
# The full tier: everything that is tested, with everything that it needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
step() {
    echo "== $* ($((SECONDS / 60)) min)"
    "$@"
}
step tests/servers.sh install
step cargo test
# What compiles an application as a user does, apart from the workspace.
step cargo test --test mistakes --test sample -- --ignored
# Each broker under the same contract, in real time: the embedded one, and those that have a server.
step cargo test -p convoke-memory --test conformance -- --ignored
step cargo test -p convoke-servers
for adapter in brokers/*/; do
    adapter=$(basename "$adapter")
    case $adapter in common | memory | skeleton) ;; *) step cargo test -p "convoke-$adapter" ;; esac
done
step cargo test --manifest-path tests/interop/Cargo.toml
step tests/features.sh
step tests/outside.sh
step book/build.sh

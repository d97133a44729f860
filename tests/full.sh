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
step cargo test --test any_compiler --test registration --test sample -- --ignored
# The texts of the compiler are those of one of its versions.
pinned=$(sed -n 's/^const PINNED: &str = "\(.*\)";$/\1/p' tests/ui/tests/mistakes.rs)
if rustc --version | grep -q "^rustc $pinned\."; then cargo=(cargo); else cargo=(cargo "+$pinned.0"); fi
step "${cargo[@]}" test --test mistakes -- --ignored
step tests/targets.sh
# Each broker under the same contract, in real time: the embedded one, and those that have a server.
step cargo test -p convoke-memory --test conformance -- --ignored
step cargo test -p convoke-servers
for adapter in brokers/*/; do
    adapter=$(basename "$adapter")
    case $adapter in common | memory | skeleton) ;; *) step cargo test -p "convoke-$adapter" ;; esac
done
# The larger example on every broker, with replicas that die, and its other store.
step cargo test -p alarm-digest --features kafka,nats,redis,rabbitmq,postgres --test brokers --test replicas --test stores
step cargo test --manifest-path tests/interop/Cargo.toml
step tests/features.sh
step tests/outside.sh
step book/build.sh

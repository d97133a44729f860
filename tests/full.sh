#!/usr/bin/env bash
# The full tier: everything that is tested, with everything that it needs.
#
# What runs on servers waits more than it computes. So lanes run side by side, once what they need is built; each writes to
# target/full/, where it is read while it goes on, is printed when all have ended, and stops at the step that fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
logs=target/full
mkdir -p "$logs"
# Nothing is built twice here, and what the compiler keeps for that takes more room than all that it makes.
export CARGO_INCREMENTAL=0
# Six were taken when it was last measured, most of them by what is compiled.
room=8
free=$(($(df --output=avail -k . | tail -1) / 1024 / 1024))
if ((free < room)); then
    echo "the full tier wants $room GB, and $free GB are free here: make room, or move the clone" >&2
    exit 1
fi
exec 3>&1
# Who stops the script stops the lanes.
trap 'trap - INT TERM; kill 0' INT TERM

step() {
    echo "== $*"
    echo "== ${lane:+$lane: }$* ($((SECONDS / 60)) min)" >&3
    "$@"
}

# All adapters but the embedded one and the two that are no brokers of their own.
adapters() {
    local adapter
    for adapter in brokers/*/; do
        adapter=$(basename "$adapter")
        case $adapter in common | memory | skeleton) ;; *) echo "-p convoke-$adapter" ;; esac
    done | xargs
}

# Each broker under the same contract. So many cases at once let the machine breathe while the other lanes run.
brokers() {
    # shellcheck disable=SC2046
    CONVOKE_CASES_AT_ONCE=6 step cargo test --no-fail-fast $(adapters) --test conformance
}

# What else runs in real time: what each broker does in its own way, the contract on the embedded one, the servers themselves, and the
# larger example on every broker, with replicas that die, and its other store.
real_time() {
    # shellcheck disable=SC2046
    step cargo test --no-fail-fast $(adapters) -- --skip keeps_the_delivery_contract
    # Servers that speak TLS, which is a feature of these two and comes with the others.
    step cargo test -p convoke-kafka -p convoke-redis --features convoke-kafka/tls,convoke-redis/tls --test tls
    step cargo test -p convoke-memory --test conformance -- --ignored
    step cargo test -p convoke-servers
    step cargo test -p alarm-digest --features kafka,nats,redis,rabbitmq,postgres --test brokers --test replicas --test stores
}

# What compiles for other systems, with other compilers or with other features. It gives way to what counts seconds.
compilers() {
    renice -n 10 -p $BASHPID >/dev/null
    # The texts of the compiler are those of one of its versions.
    local pinned cargo
    pinned=$(sed -n 's/^const PINNED: &str = "\(.*\)";$/\1/p' tests/ui/tests/mistakes.rs)
    if rustc --version | grep -q "^rustc $pinned\."; then cargo=(cargo); else cargo=(cargo "+$pinned.0"); fi
    step "${cargo[@]}" test --test mistakes -- --ignored
    step cargo test --test any_compiler --test registration --test sample -- --ignored
    step tests/targets.sh
    step cargo test --manifest-path tests/interop/Cargo.toml
    step tests/features.sh
}

# The same for whoever uses what is built, and for who reads: when the brokers are through, the machine has room for it.
users() {
    renice -n 10 -p $BASHPID >/dev/null
    tail --pid="${running[brokers]}" -f /dev/null
    step tests/outside.sh
    step book/build.sh
}

echo "== tests/servers.sh install, beside what follows"
tests/servers.sh install >"$logs/install.log" 2>&1 &
installing=$!
step cargo test
wait $installing || { cat "$logs/install.log" && exit 1; }
# shellcheck disable=SC2046
step cargo test $(adapters) --no-run

declare -A running
for lane in brokers real_time compilers users; do
    "$lane" >"$logs/$lane.log" 2>&1 &
    running[$lane]=$!
done
failed=()
for lane in "${!running[@]}"; do wait "${running[$lane]}" || failed+=("$lane"); done
for lane in "${!running[@]}"; do
    echo "==== $lane"
    cat "$logs/$lane.log"
done
echo "== ended after $((SECONDS / 60)) min; failed: ${failed[*]:-none}"
[ ${#failed[@]} = 0 ]

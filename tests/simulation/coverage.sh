#!/bin/sh
# Measures which branches of the engine the scenarios and the model test reach. Needs a nightly toolchain with llvm-tools
# (rustup component add llvm-tools --toolchain nightly). Usage: tests/simulation/coverage.sh [traces]
set -eu
cd "$(dirname "$0")/../.."
out=target/coverage
tools="$(rustc +nightly --print sysroot)/lib/rustlib/$(rustc +nightly -vV | sed -n 's/^host: //p')/bin"
rm -rf "$out/profiles"
export CARGO_TARGET_DIR="$out" CONVOKE_TRACES="${1:-20000}" LLVM_PROFILE_FILE="$PWD/$out/profiles/%p-%m.profraw"
export RUSTFLAGS="-C instrument-coverage -Z coverage-options=branch"
cargo +nightly test -p convoke-engine -p convoke-simulation --tests
"$tools/llvm-profdata" merge -sparse "$out"/profiles/*.profraw -o "$out/engine.profdata"
objects=""
for binary in "$out"/debug/deps/*-????????????????; do
    if [ -x "$binary" ] && [ -f "$binary" ]; then
        objects="$objects --object $binary"
    fi
done
# shellcheck disable=SC2086
"$tools/llvm-cov" report --show-branch-summary --instr-profile "$out/engine.profdata" $objects --sources "$PWD"/core/engine/src/*.rs

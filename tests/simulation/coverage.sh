#!/bin/sh
# Measures which branches of the engine the scenarios (core/engine/tests) and the model test reach, lists those that neither does,
# and fails under 95 per cent.
#
# Needs a nightly toolchain with its LLVM tools, for branches are not counted on stable:
#     rustup toolchain install nightly --profile minimal --component llvm-tools
# Nothing else: no cargo subcommand, and no network once the dependencies are there. Everything goes to target/coverage.
#
# Usage: tests/simulation/coverage.sh [traces, 20000 if not given]
set -eu
cd "$(dirname "$0")/../.."
floor=95
root=$PWD
out=$root/target/coverage

host=$(rustc +nightly -vV | sed -n 's/^host: //p') || { echo "no nightly toolchain; see the top of $0" >&2; exit 2; }
tools=$(rustc +nightly --print sysroot)/lib/rustlib/$host/bin
[ -x "$tools/llvm-cov" ] && [ -x "$tools/llvm-profdata" ] || { echo "no llvm-tools in $tools; see the top of $0" >&2; exit 2; }

rm -rf "$out/profiles"
mkdir -p "$out"
export CARGO_TARGET_DIR="$out" CONVOKE_TRACES="${1:-20000}" LLVM_PROFILE_FILE="$out/profiles/%p-%m.profraw"
export RUSTFLAGS="-C instrument-coverage -Z coverage-options=branch"

# Which programs there are, cargo says; in the folder there are also older ones.
set -- +nightly test -p convoke-engine -p convoke-simulation --tests
cargo "$@" --no-run --message-format=json >"$out/build.json"
objects=$(sed -n 's/.*"executable":"\([^"]*\)".*/--object \1/p' "$out/build.json")
cargo "$@"

"$tools/llvm-profdata" merge -sparse "$out"/profiles/*.profraw -o "$out/engine.profdata"
cov() {
    # shellcheck disable=SC2086
    "$tools/llvm-cov" "$@" --instr-profile "$out/engine.profdata" $objects --sources "$root"/core/engine/src/*.rs
}
cov report --show-branch-summary >"$out/report.txt"
cov export --format=lcov >"$out/engine.lcov"

# A generic function is there once for each of its types: a branch of it is reached if it is in any.
awk -v floor="$floor" -v root="$root/" '
    /^SF:/ { file = substr($0, 4); sub(root, "", file) }
    /^BRDA:/ {
        split(substr($0, 6), f, ",")
        branch = file SUBSEP f[1] SUBSEP f[2] SUBSEP f[3]
        if (!(branch in count)) { order[++all] = branch; count[branch] = 0 }
        if (f[4] != "-") count[branch] += f[4]
    }
    END {
        for (n = 1; n <= all; n++) {
            if (count[order[n]] > 0) { reached++; continue }
            split(order[n], b, SUBSEP)
            printf "not reached: %s:%d, condition %d, %s\n", b[1], b[2], b[3] + 1, b[4] % 2 ? "false" : "true"
        }
        per_cent = all ? 100 * reached / all : 0
        printf "branches: %.2f %% (%d of %d), the floor is %d %%\n", per_cent, reached, all, floor
        exit (per_cent < floor)
    }' "$out/engine.lcov"

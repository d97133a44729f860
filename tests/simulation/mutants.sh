#!/usr/bin/env bash
# Breaks the engine in every small way that cargo-mutants knows, one after the other, and has its scenarios (core/engine/tests) find
# out; then the model test has a go at what survives them. What survives both has to stand in survivors.md, with a reason; anything
# else is a failure.
#
# Usage: tests/simulation/mutants.sh [options of cargo mutants]
#     tests/simulation/mutants.sh                      everything: about an hour on an idle core
#     tests/simulation/mutants.sh --shard 0/8          an eighth of it
#     tests/simulation/mutants.sh -f '**/settle.rs'    a file of it
# CONVOKE_TRACES is how many traces the model test runs for each; NICE how much the whole gives way to others. The outcomes are in
# target/mutants/mutants.out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=27.1.0
tool=target/tools/bin/cargo-mutants
if [[ "$("$tool" mutants --version 2>/dev/null)" != "cargo-mutants $version" ]]; then
    cargo install cargo-mutants --version "$version" --locked --debug --root target/tools --target-dir target/tools/build
fi

# A mutant is compiled once and run for a second or two: it is not worth to optimize it. What they all depend on is compiled once.
options=("--cargo-arg=--target-dir=$PWD/target/mutants/build")
for crate in convoke-engine convoke-simulation; do
    options+=("--cargo-arg=--config=profile.dev.package.$crate.opt-level=0")
done
# Some mutants would go on until the memory is full.
ulimit -v $((8 * 1024 * 1024))
export CONVOKE_TRACES="${CONVOKE_TRACES:-500}"
mkdir -p target/mutants
run=(nice -n "${NICE:-19}")
# What fails without a mutant would catch them all.
"${run[@]}" cargo test --quiet --package convoke-engine --package convoke-simulation --test '*' "${options[@]#--cargo-arg=}"

# The tests of these packages against the mutants that the options name. Of the answers, 2 says that some survive, 3 that some have no
# end, which is as good as caught; whatever else is an error of another kind.
against() {
    local code=0 limit=20
    [[ $1 == convoke-engine ]] || limit=60
    "${run[@]}" "$tool" mutants --package convoke-engine --test-package "$1" --cargo-test-arg=--test='*' "${options[@]}" \
        --baseline skip --jobs 1 --timeout "$limit" --build-timeout 600 --no-shuffle --colors never --output target/mutants "${@:2}" || code=$?
    [[ $code == 0 || $code == 2 || $code == 3 ]] || exit "$code"
}
against convoke-engine "$@"
if [[ -s target/mutants/mutants.out/missed.txt ]]; then
    against convoke-simulation "$@" --iterate
fi

# Without lines and columns, which change with every edit. What is there twice has to be listed twice.
export LC_ALL=C
found=$(sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /' target/mutants/mutants.out/missed.txt | sort)
listed=$(sed -nE 's/^- `([^`]+)`.*/\1/p' tests/simulation/survivors.md | sort)
unknown=$(comm -23 <(echo "$found") <(echo "$listed") | sed '/^$/d')
if [[ -n $unknown ]]; then
    echo "survivors that tests/simulation/survivors.md does not list; write a test that fails, or say why there can be none:" >&2
    sed 's/^/    /' <<<"$unknown" >&2
    exit 1
fi
caught=$(comm -13 <(echo "$found") <(echo "$listed") | sed '/^$/d')
if [[ $# == 0 && -n $caught ]]; then
    echo "tests/simulation/survivors.md lists what does not survive; take it out:" >&2
    sed 's/^/    /' <<<"$caught" >&2
    exit 1
fi
echo "survivors: $(sed /^$/d <<<"$found" | wc -l), all of them listed"

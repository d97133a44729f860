#!/usr/bin/env bash
# Breaks the engine in every small way that cargo-mutants knows, one after the other, and has its scenarios (core/engine/tests) find
# out; then the model test has a go at what survives them. What survives both has to stand in survivors.md, with a reason; anything
# else is a failure.
#
# cargo-mutants says what the mutants are. They are not compiled one by one: `mutants.py` compiles all of them into one program, which
# takes minutes instead of hours. Needs Python 3.
#
# Usage: tests/simulation/mutants.sh [part of a mutant's name, as cargo-mutants says it]...
#     tests/simulation/mutants.sh                      everything: twelve minutes on two cores that have other work
#     tests/simulation/mutants.sh settle.rs            a file of it
#     tests/simulation/mutants.sh 'in Engine::lose'    a function of it
# CONVOKE_TRACES is how many traces the model test runs for each; NICE how much the whole gives way to others. What became of each is
# in target/mutants/outcomes.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=27.1.0
tool=target/tools/bin/cargo-mutants
if [[ "$("$tool" mutants --version 2>/dev/null)" != "cargo-mutants $version" ]]; then
    cargo install cargo-mutants --version "$version" --locked --debug --root target/tools --target-dir target/tools/build
fi
# Some mutants would go on until the memory is full.
ulimit -v $((8 * 1024 * 1024))
export CONVOKE_TRACES="${CONVOKE_TRACES:-500}"
out=target/mutants
mkdir -p "$out"
"$tool" mutants --package convoke-engine --list --json >"$out/list.json"
nice -n "${NICE:-19}" python3 tests/simulation/mutants.py "$out/list.json" "$PWD/$out" "$@" >"$out/missed.txt"

# Without lines and columns, which change with every edit. What is there twice has to be listed twice.
export LC_ALL=C
found=$(sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /' "$out/missed.txt" | sort)
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

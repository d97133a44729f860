#!/bin/sh
# Counts what a message costs (instructions, under callgrind) as handlers and keys become more. Flat is what is wanted.
#
# Usage: benches/growth.sh [keys|handlers]. Needs valgrind. A figure is the difference between two runs, divided by the messages
# between them.
set -eu
cd "$(dirname "$0")/.."
. benches/callgrind.sh

# row TITLE FROM TO [ARGUMENTS...]
row() {
    title="$1" from="$2" to="$3"
    shift 3
    one="$(instructions convoke "$from" "$@")"
    two="$(instructions convoke "$to" "$@")"
    awk "BEGIN { printf \"| %-42s | %8.0f |\n\", \"$title\", ($two - $one) / ($to - $from) }"
}

echo "| growth                                     | instr.   |"
echo "|--------------------------------------------|---------:|"
if [ "${1:-keys}" = keys ]; then
    for keys in 1 10 1000 100000; do
        row "$keys keys" 10000 30000 --keys "$keys"
    done
    # As many messages as keys, so that every message has a key that was never seen.
    row "1000000 keys" "${FROM:-500000}" "${TO:-1000000}" --keys 1000000
fi
if [ "${1:-handlers}" = handlers ]; then
    for handlers in 1 10 100 1000; do
        row "$handlers handlers, each with its topic" 20000 40000 --handlers "$handlers" --partitions 1
    done
    for handlers in 10 100 1000; do
        row "$handlers handlers that share a lane" 20000 40000 --handlers "$handlers" --partitions 1 --arrangement shared
    done
fi

# What the counting scripts share; to be sourced, from the root of the repository. Builds the programs, and counts a run of them.
cargo build --quiet --profile bench -p convoke-benches
programs="${CARGO_TARGET_DIR:-target}/release"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# instructions PATH MESSAGES [ARGUMENTS...]
instructions() {
    path="$1" messages="$2"
    shift 2
    valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*Prepared*drain*' \
        --callgrind-out-file="$scratch/out" "$programs/path" "$path" --messages "$messages" "$@" >"$scratch/said" 2>&1 ||
        { cat "$scratch/said" >&2; exit 1; }
    sed -n 's/^\(summary\|totals\): *\([0-9]*\).*/\2/p' "$scratch/out" | tail -1
}

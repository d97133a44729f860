#!/usr/bin/env bash
# Builds the book into target/book, with the mdBook that it was written for. Links are checked by its tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=0.5.4
mdbook=target/tools/bin/mdbook
if [[ "$("$mdbook" --version 2>/dev/null)" != "mdbook v$version" ]]; then
    cargo install mdbook --version "$version" --locked --no-default-features --features search --root target/tools --target-dir target/tools/build
fi
# mdBook goes on after an error in a chapter, and says so.
said=$("$mdbook" build book --dest-dir "$PWD/target/book" 2>&1) || { echo "$said"; exit 1; }
echo "$said"
if grep -qE '\b(WARN|ERROR)\b' <<<"$said"; then
    echo "the book has errors" >&2
    exit 1
fi

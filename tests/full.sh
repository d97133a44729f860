#!/usr/bin/env bash
# The full tier: everything that is tested, with everything that it needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo test
# What compiles an application as a user does, apart from the workspace.
cargo test --test mistakes --test sample -- --ignored
cargo test --manifest-path tests/interop/Cargo.toml
tests/outside.sh
book/build.sh

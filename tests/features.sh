#!/usr/bin/env bash
# Builds the facade and the adapters without any feature, and with each alone, and without a warning. Those of the crates below are reached by the facade's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo metadata --format-version 1 --no-deps | python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["features"] and package["name"] not in ["convoke-core", "convoke-runtime"]:
        for feature in ["", *package["features"]]:
            if feature != "default":
                print(package["name"], feature)
' | while read -r package feature; do
    echo "$package: ${feature:-no feature}"
    said=$(cargo check --quiet --package "$package" --lib --no-default-features ${feature:+--features "$feature"} 2>&1 </dev/null) &&
        [ -z "$said" ] || { echo "$said" && exit 1; }
done

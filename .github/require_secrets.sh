#!/usr/bin/env bash
# Fail, naming each variable given as an argument that is empty, and say where it is set. Prints no value.
set -euo pipefail
missing=""
for name in "$@"; do
  if [ -z "${!name:-}" ]; then
    missing="$missing $name"
  fi
done
if [ -n "$missing" ]; then
  echo "::error title=Secrets are missing::not set:$missing. Set each on GitHub, in this repository:" \
    "Settings > Secrets and variables > Actions > New repository secret. See docs/other_ways.md."
  exit 1
fi

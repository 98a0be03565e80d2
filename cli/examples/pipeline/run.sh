#!/usr/bin/env bash
# Runs the pipeline in a fresh folder and prints what it collected; see README.md.
#
# QRM_BIN is the directory of qrm if it is not on the PATH. The queue is the user's own, unless QRM_STATE_DIR names another.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH="${QRM_BIN:+$(cd "$QRM_BIN" && pwd):}$PATH"
command -v qrm >/dev/null || { echo "qrm is not on the PATH; QRM_BIN=DIR says where it is" >&2; exit 2; }

folder=$(mktemp -d "${TMPDIR:-/tmp}/qrm-pipeline.XXXXXX")
trap 'rm -rf "$folder"' EXIT
cp "$here"/pipeline.toml "$here"/*.sh "$folder"
cd "$folder"

# The ids come in the order of the file.
mapfile -t ids < <(qrm submit pipeline.toml)
[[ ${#ids[@]} == 4 ]] || exit 1
qrm wait "${ids[2]}"
qrm logs "${ids[2]}"

#!/usr/bin/env bash
# From the release before this one to this one, and back, while jobs run: two builds, made of two commits.
#
#   tests/upgrade.sh [COMMIT]
#
# COMMIT is the older one; without it, the last one whose version in Cargo.toml is another. Its build, of some minutes, stays
# in target/upgrade, or in QRM_UPGRADE_TARGET, for the next time. Too slow for every change: run it before a release.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${QRM_UPGRADE_TARGET:-$PWD/target/upgrade}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
commit=${1:-$(git log --format=%H -S"version = \"$version\"" -- Cargo.toml | tail -1)^}
mkdir -p "$target/src"
git archive "$commit" | tar -x -C "$target/src"
before=$(sed -n 's/^version = "\(.*\)"/\1/p' "$target/src/Cargo.toml" | head -1)
echo "== building $before and $version"
(cd "$target/src" && CARGO_TARGET_DIR="$target" cargo build --quiet --locked)
cargo build --quiet --locked
[[ $before != "$version" ]] || { echo "both are $version: name an older COMMIT" >&2; exit 2; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/qrm-upgrade.XXXXXX")
world() { env -i HOME="$dir" PATH="$PATH" QRM_STATE_DIR="$dir/state" XDG_CONFIG_HOME="$dir/config" "$@"; }
old() { world "$target/debug/qrm" "$@"; }
new() { world target/debug/qrm "$@"; }
leave() {
    local status=$?
    new cancel state=live >/dev/null 2>&1 || true
    new daemon stop >/dev/null || status=1
    rm -rf "$dir"
    exit "$status"
}
trap leave EXIT

fail() { echo "FAILED: $*" >&2; exit 1; }
# What a command says and its exit code must be these.
same() { [[ $2 == "$3" ]] || fail "$1 is '$2' instead of '$3'"; }
code() { local code=0; "$@" >"$dir/said" 2>&1 || code=$?; echo "$code"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
# A command that says that it runs, goes on when its gate is opened, and ends with this code.
gated() {
    mkfifo "$dir/$1" "$dir/$1.runs"
    old submit -- sh -c "echo >'$dir/$1.runs'; read go <'$dir/$1'; echo \$QRM_JOB_ID >>'$dir/ran'; exit $2"
}
executing() { read -r _ <"$dir/$1.runs"; }
open_gate() { echo go >"$dir/$1"; }
# A process that is not a child has gone.
gone() { tail --pid="$1" -f /dev/null; }
ends() { new --json jobs --all | python3 -c 'import json, sys
for job in json.load(sys.stdin): print(job["id"], job["state"], job["exit_code"])'; }

for how in stop kill; do
    echo "== $before to $version by $how"
    rm -rf "${dir:?}"/*
    ended=$(old submit -- sh -c 'echo said; exit 5')
    same "the exit code under $before" "$(code old wait "$ended")" 5
    across=$(gated across-gate 11)
    between=$(gated between-gate 12)
    held=$(old submit --hold --array 0-1 -- sh -c 'exit $QRM_ARRAY_INDEX')
    executing across-gate
    executing between-gate
    pid=$(old --json daemon status | field pid)
    if [[ $how == stop ]]; then
        old daemon stop >/dev/null
        # It ends while there is no daemon at all.
        open_gate between-gate
    else
        kill -KILL "$pid"
    fi
    gone "$pid"
    new daemon start >/dev/null
    same "the release that runs" "$(new --json daemon status | field version)" "$version"
    [[ $how == stop ]] || open_gate between-gate
    same "the exit code of what had ended" "$(new --json show "$ended" | field exit_code)" 5
    same "its output" "$(new logs "$ended")" said
    same "the exit code of what ended without a daemon, or after" "$(code new wait "$between")" 12
    same "the state of what goes on" "$(new --json show "$across" | field state)" executing
    open_gate across-gate
    same "the exit code of what went on" "$(code new wait "$across")" 11
    new release "$held" >/dev/null
    same "the exit code of a task of before" "$(code new wait "$held.1")" 1
    same "the exit code of a new job" "$(code new run -- sh -c 'exit 13')" 13
    same "how often each ran" "$(sort "$dir/ran" | uniq -c | awk '{print $1}' | sort -u)" 1
    same "what the doctor finds" "$(code new doctor)" 0
    kept=$(ends)
    echo "$kept" | sed 's/^/   /'

    echo "== back to $before"
    new daemon stop >/dev/null
    sum=$(sha256sum "$dir/state/qrm.sqlite")
    refused=$(code old daemon start)
    cat "$dir/said"
    [[ $refused != 0 ]] && grep -q 'later release' "$dir/said" && grep -q 'hint: install the release' "$dir/said" ||
        fail "$before does not refuse the store of $version with what to do"
    same "the store that was refused" "$(sha256sum "$dir/state/qrm.sqlite")" "$sum"
    new daemon start >/dev/null
    same "what is there after that" "$(ends)" "$kept"
    new daemon stop >/dev/null
done
echo "== all of it went through"

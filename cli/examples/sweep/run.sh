#!/usr/bin/env bash
# A sweep of 200 small trainings through qrm, two at a time, whose daemon is killed half-way; see README.md.
#
#   cli/examples/sweep/run.sh [FOLDER]
#
# FOLDER keeps the virtual environment and a folder for each run; without it, a fresh one in the temporary directory is
# made. QRM_BIN is the directory of qrm if it is not on the PATH. The queue is one of the run's own, unless
# QRM_STATE_DIR names another; a daemon that is not the run's own is neither killed nor stopped.
set -euo pipefail

readonly tasks=200
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH="${QRM_BIN:+$(cd "$QRM_BIN" && pwd):}$PATH"
command -v qrm >/dev/null || { echo "qrm is not on the PATH; QRM_BIN=DIR says where it is" >&2; exit 2; }

folder=${1:-$(mktemp -d "${TMPDIR:-/tmp}/qrm-sweep.XXXXXX")}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
run=$(mktemp -d "$folder/run.XXXXXX")
mkdir "$run/results"

own=no
if [[ -z ${QRM_STATE_DIR:-} ]]; then
    own=yes
    export QRM_STATE_DIR=$run/state
fi
# It would win over the state directory.
unset QRM_SOCKET

array='' collecting='' finished=no
leave() {
    local status=$?
    if [[ $finished == no && -n $array ]]; then
        # Jobs go on without a daemon, so they are ended before it is.
        qrm cancel "$array" ${collecting:+"$collecting"} >/dev/null || true
        qrm wait "$array" ${collecting:+"$collecting"} >/dev/null 2>&1 || true
    fi
    [[ $own == no ]] || qrm daemon stop >/dev/null || status=1
    exit "$status"
}
trap leave EXIT

say() { printf '\n== %s\n' "$*"; }
now_us() { echo "${EPOCHREALTIME//[!0-9]/}"; }
# What the kernel counts of a daemon and of its helper processes, a line each; see proc_pid_stat(5).
stat_of() {
    local process children
    cat "/proc/$1/stat"
    children=$(cat "/proc/$1"/task/*/children 2>/dev/null) || true
    for process in $children; do
        cat "/proc/$process/stat" 2>/dev/null || true
    done
}
daemon_pid() { qrm daemon status --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["pid"])'; }

say "$run"
python=$folder/venv/bin/python
if [[ ! -x $python ]]; then
    python3 -m venv "$folder/venv"
fi
"$python" -m pip install --quiet --disable-pip-version-check 'scikit-learn<2'

say "$tasks trainings as one array, two at a time, and a job that collects them"
# A job has the environment of its submitter. One thread for each training: two of them fill two cpus.
export OMP_NUM_THREADS=1
began_us=$(now_us)
array=$(qrm submit --name sweep --array "0-$((tasks - 1))%2" -- "$python" "$here/train.py" "$run/results")
collecting=$(qrm submit --name collect --after-ok "$array" -- "$python" "$here/collect.py" "$run/results" "$tasks")
echo "the array is job $array, the collecting job is $collecting"

if [[ $own == yes ]]; then
    pid=$(daemon_pid)
    # Should it have failed, the wait for all of them will say so.
    qrm wait "$array.$((tasks / 2 - 1))" || true
    running=$(qrm jobs "array=$array" state=allocating,executing --json | "$python" -c \
        'import json, sys; print(" and ".join(job["id"] for job in json.load(sys.stdin)))')
    stat_of "$pid" >"$run/qrmd.killed"
    kill -KILL "$pid"
    say "killed qrmd, process $pid, while $running ran"
fi

# Nobody starts the daemon again but this.
if ! qrm wait "$array" "$collecting"; then
    qrm jobs "array=$array" state=failed --all
    qrm logs "$collecting" --stderr || true
    exit 1
fi
ended_us=$(now_us)

if [[ $own == yes ]]; then
    restarted=$(daemon_pid)
    ((restarted != pid)) || { echo "process $pid was killed, and is there again" >&2; exit 1; }
    stat_of "$restarted" >"$run/qrmd.restarted"
fi
printf '{"began_us": %s, "ended_us": %s}\n' "$began_us" "$ended_us" >"$run/wall.json"
qrm jobs "array=$array" --all --json >"$run/tasks.json"
qrm show "$collecting" --json >"$run/collect.json"

say "what the collecting job printed"
qrm logs "$collecting"

say "what it cost"
"$python" "$here/cost.py" "$run"
finished=yes

say "everything is in $run, the virtual environment in $folder/venv"

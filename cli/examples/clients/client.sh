#!/bin/sh
# A client of qrm in plain shell, without jq: the command line where it is enough, the socket where it is not.
#
#     ./client.sh sh -c 'echo hello; exit 3'
set -eu

# --- The command line: a bare id in a pipe, exit codes that mean something. ---

# The same key is the same job, however often a lost connection makes this run again.
key="client-$$-$(date +%s)"
tries=10
until id=$(qrm submit --key "$key" --name client -- "$@"); do
    case $? in
        3 | 4) ;;     # no daemon, or one that can not do it now
        *) exit 2 ;;  # refused: to try the same again does not help
    esac
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 3
    sleep 1
done

# The job's own code, 128 + its signal, 124 on a time limit, 125 if it was qrm that failed.
qrm wait --quiet "$id" && code=0 || code=$?
qrm logs "$id"

# One plain value of a JSON document. A quote inside a text has a backslash before it, so that no text looks like a key.
key_of() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
state=$(qrm --json show "$id" | key_of state)
echo "job $id is $state" >&2

# --- The socket: a line for each call, a line for each reply. ---

socket=$(qrm --json daemon status | key_of socket)
if command -v socat >/dev/null; then
    talk() { socat -t 60 - "UNIX-CONNECT:$socket"; }
elif command -v nc >/dev/null; then
    talk() { nc -N -U "$socket"; }    # -N: when there are no more calls, say so
else
    echo "neither socat nor nc is here: no word on the socket" >&2
    exit "$code"
fi
printf '%s\n' \
    '{"jsonrpc":"2.0","id":"a","method":"hello","params":{"protocol":1}}' \
    '{"jsonrpc":"2.0","id":"b","method":"event.subscribe","params":{"after":0,"job":"'"$id"'"}}' |
    talk | while IFS= read -r line; do
        case $line in
            *'"error"'*) echo "refused: $line" >&2 ;;
            *'"method":"event"'*) echo "$line" | sed 's/.*"kind":"\([a-z.]*\)".*/event \1/' >&2 ;;
        esac
    done
exit "$code"

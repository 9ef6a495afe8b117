# shellcheck shell=sh
# Archives the files named by the arguments, and reports those that others own or can write, or whose directory is so.
. ../protocol/ownership.sh
[ $# != 0 ] || exit 0
bad=$(for path; do set -- "$@" "${path%/*}"; done; foreign "$@")
[ -z "$bad" ] || printf '%s\n' "$bad" >&2
. send.sh

# shellcheck shell=sh
# Archives the files named by the arguments, and reports files and directories that other users own or can write.
. ../protocol/ownership.sh
[ $# != 0 ] || exit 0
bad=$(for path; do set -- "$@" "${path%/*}"; done; foreign "$@")
[ -z "$bad" ] || printf '%s\n' "$bad" >&2
. send.sh

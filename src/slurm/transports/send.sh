# shellcheck shell=sh
# Archives the files named by the arguments.
[ $# = 0 ] || tar -chf - "$@"

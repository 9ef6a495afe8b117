# shellcheck shell=sh
# Argument: a directory. Reports it and ends, if others could have written what is in it.
. ../transports/plain_tools.sh
. ../protocol/ownership.sh
bad=$(strange_link "$1"; [ ! -e "$1" ] || foreign "$1")
[ -z "$bad" ] || { echo "$bad"; exit; }

# shellcheck shell=sh
# Argument: a directory. If other users could have written its files, reports that and exits.
. ../transports/plain_tools.sh
. ../protocol/ownership.sh
bad=$(strange_link "$1"; [ ! -e "$1" ] || foreign "$1")
[ -z "$bad" ] || { echo "$bad"; exit; }

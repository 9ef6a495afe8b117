# shellcheck shell=sh
# Runs the command that its arguments are.
. clean.sh
exec "$@"

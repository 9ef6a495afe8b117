# shellcheck shell=sh
# Runs its arguments as a command.
. clean.sh
exec "$@"

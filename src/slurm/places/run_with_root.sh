# shellcheck shell=sh
# Runs a command with the path of the root in SLURMTASKS_ROOT. Arguments: the root as given, the command.
. default_root.sh
set_root "$1"
shift
export SLURMTASKS_ROOT="$root"
exec "$@"

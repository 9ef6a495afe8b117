# shellcheck shell=sh
# Prints the user's id and the output of squeue. Arguments: options of squeue.
. clean.sh
id -u
exec squeue --states=all "$@"

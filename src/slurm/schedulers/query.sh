# shellcheck shell=sh
# Prints the user's number, and the output of squeue. Arguments: those of squeue.
. clean.sh
id -u
exec squeue --states=all "$@"

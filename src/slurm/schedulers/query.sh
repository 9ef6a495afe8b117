# shellcheck shell=sh
# Prints the user's id and the output of squeue. Arguments: options of squeue.
. clean.sh
id -u
exec squeue --states=all --array-unique "$@"  # else the tasks of an array that wait for several reasons are one line

# shellcheck shell=sh
# Prints the user's number, and what squeue says. Arguments: squeue's.
. clean.sh
id -u
exec squeue --states=all "$@"

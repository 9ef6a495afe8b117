# shellcheck shell=sh
# Prints the digest and the name of each existing blob. Arguments: the directory of blobs, names.
. ../protocol/ownership.sh
cd -- "$1" 2> /dev/null || exit 0
shift
here=$PWD
for name; do shift; [ ! -f "$name" ] || set -- "$@" "$here/$name"; done
foreign "$here" "$@"
for path; do echo "$(digest "$path") ${path##*/}"; done

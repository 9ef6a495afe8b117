# shellcheck shell=sh
# Arguments: the directory of blobs, a number of days. Removes wheels that are older.
. own_directory.sh
cd -- "$1" 2> /dev/null || exit 0
find . ! -name . -prune -name "*.whl" -mtime "+$2" -exec rm -f {} +

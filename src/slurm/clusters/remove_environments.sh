# shellcheck shell=sh
# Arguments: the directory of environments, keys.
. own_directory.sh
cd -- "$1" || exit
shift
for key; do rm -rf -- "$key.json" && rm -rf -- "$key" "$key.lock" "$key.log" || exit; done

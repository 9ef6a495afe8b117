# shellcheck shell=sh
# Remove all traces of a build, unless another process has taken over its lock.
# Arguments: the directory of environments, the key, the lock's number, the token.
cd -- "$1" || exit
shift
rm -rf "${1:?}/$3"
# shellcheck disable=SC2012 # names of locks are numbers
[ "$(ls "$1.lock" 2> /dev/null | sort -n | tail -n 1)" = "$2" ] || exit 0
rmdir "$1" 2> /dev/null
# Rename the lock first: otherwise a heartbeat could write into it while it is removed.
mv "$1.lock" ".$1.$3.lock" 2> /dev/null
rm -rf ".$1.$3.lock"

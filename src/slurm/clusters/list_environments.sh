# shellcheck shell=sh
# Prints a line for each environment: its key, its state, seconds unused, kilobytes, the keys of its base.
# Argument: the directory of environments.
. own_directory.sh
cd -- "$1" 2> /dev/null || exit 0
age() { at=$(date -r "$1" +%s 2> /dev/null) && echo $(( $(date +%s) - at )); }
# Keys have no blanks, and names of locks are numbers.
# shellcheck disable=SC2012,SC2045,SC2046
for key in $(ls -d -- */ 2> /dev/null | sed 's,\.lock/$,/,' | sort -u); do
    key=${key%/}
    kilobytes=$(du -sk -- "$key" 2> /dev/null | cut -f 1)
    beat=$(ls -td -- "$key.lock"/* "$key.lock"/*/beat 2> /dev/null | head -n 1)
    last=$key.lock/$(ls -- "$key.lock" 2> /dev/null | sort -n | tail -n 1)
    if [ -f "$key.json" ]; then state=ready since=$(age "$key.json")
    elif [ -e "$last/failed" ] || [ -e "$last/given-up" ]; then state=left since=$(age "$last")
    elif [ -n "$beat" ]; then state=lock since=$(age "$beat")
    else state=lock since=$(age "$key"); fi # a process may be about to take the lock
    [ -z "$since" ] || echo "$key $state $since ${kilobytes:-0}" $(cat -- "$key"/*/below 2> /dev/null)
done

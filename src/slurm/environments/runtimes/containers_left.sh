# shellcheck shell=bash

# started PID: prints when a process started, in clock ticks after the boot of the node: field 22 of /proc/PID/stat,
# proc(5). A process that has ended has none, and its id may name another process by now.
started() {
    local stat
    { stat=$(< "/proc/$1/stat"); } 2> /dev/null || return 0
    # The second field may contain blanks.
    # shellcheck disable=SC2086 # fields are numbers after it
    set -- ${stat##*) }
    echo "${20}"
}

# remove_left ENGINE PATTERN: removes containers that do not run and whose launcher is gone: an engine that is killed
# while it starts a container leaves the container. Their names end with the launcher's process id and start. Without
# --force, a running container is not removed.
remove_left() {
    local name pid start now
    for name in $("$1" ps --all --filter "name=$2" --format '{{.Names}}' 2> /dev/null); do
        IFS=- read -r _ _ _ pid start <<< "$name"
        now=$(started "$pid")
        if [ -z "$now" ] || [ "$now" != "${start:-$now}" ]; then # names of earlier versions have no start
            "$1" rm "$name" > /dev/null 2>&1
        fi
    done
}

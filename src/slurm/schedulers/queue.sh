# shellcheck shell=sh
# Queue the blocks of a submission, and write down their ids. Calls of these functions follow this text.
. scrub.sh
newline='
'

# own_script PATH: refuses a script of another user. One that is missing is left to the scheduler, which reports it.
own_script() {
    [ ! -e "$1" ] || [ -O "$1" ] || { printf '%s\n' "$1 is not yours, so it is not queued" >&2; exit 1; }
}

# queue FORM COMMAND…: runs a submit command, and sets and prints the id that it printed. FORM is the form of an id.
# A command that prints no id, more than one, or one and fails, leaves open what it has queued: all its output is
# printed as errors, and its status ends this program.
queue() {
    form=$1
    shift
    output=$("$@" < /dev/null); status=$?
    id=$(printf '%s\n' "$output" | LC_ALL=C sed -n -E "s/^[[:space:]]*($form)[[:space:]]*\$/\1/p")
    if [ "$status" -eq 0 ] && [ -n "$id" ] && [ "$id" = "${id%%"$newline"*}" ]; then
        printf '%s\n' "$id"
    else
        printf '%s\n' "$output" >&2
        exit "$status"
    fi
}

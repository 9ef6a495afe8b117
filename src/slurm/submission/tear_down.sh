# shellcheck shell=bash
# The script sets the array teardown.
# shellcheck disable=SC2154 # see above

# tear_down: runs the lines of the array `teardown`, each also if one before it fails. Called once: by the script, or on
# its exit if a signal has ended the call. SIGTERM, which precedes SIGKILL, does not interrupt it.
tear_down() {
    trap '' TERM # first: SIGTERM would end the script without its EXIT trap
    trap - EXIT
    (
        for line in "${teardown[@]}"; do
            eval "$line" || echo "teardown: failed with status $? at: $line" >&2
        done
    )
}

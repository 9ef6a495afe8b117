# shellcheck shell=sh
# Calls of this function follow this text. `failed` becomes 1 if a command fails without the key in its output.
failed=0
# belongs KEY COMMAND…: succeeds if the output of the command contains the key. Line breaks and tabs are removed first,
# because some commands wrap long lines.
belongs() {
    key=$1
    shift
    output=$("$@" 2>&1); status=$?
    printf '%s' "$output" | tr -d '\n\t' | grep -q -F -e "$key" && return
    # shellcheck disable=SC2034 # the lines after this text use it
    [ "$status" -eq 0 ] || { printf '%s\n' "$output" >&2; failed=1; }
    return 1
}

# shellcheck shell=sh
# Print the paths of the files below a directory of submissions that hold an id of the scheduler.
# Arguments: the directory, and the id.
find "$1" -mindepth 3 -type d ! -name attempts -prune -o -type f \
    \( -name submitted.json -o -name '*.blocks.json' \) \
    -exec grep -l -F -e "\"$2\"" -e "\"$2;" {} +

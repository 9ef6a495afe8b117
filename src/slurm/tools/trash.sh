# shellcheck shell=sh
# Move directories that jobs have left to a trash beside them, restore them, or remove them from the trash.
# Arguments: trash, restore or empty; "really", or "dry" to change nothing; then directories of jobs' calls, such as
# …/work/0. Prints the directories that were changed, or would be.
verb=$1 how=$2
shift 2
status=0
run() { [ "$how" = dry ] || "$@"; }
for directory; do
  trash=${directory%/*}/trash-${directory##*/}
  case $verb in
    trash) [ ! -d "$directory" ] || [ -e "$trash" ] || { run mv -- "$directory" "$trash" && printf '%s\n' "$directory"; } ;;
    restore) [ ! -d "$trash" ] || [ -e "$directory" ] || { run mv -- "$trash" "$directory" && printf '%s\n' "$directory"; } ;;
    empty) [ ! -d "$trash" ] || { run chmod -R u+w -- "$trash" && run rm -rf -- "$trash" && printf '%s\n' "$directory"; } ;;
  esac || status=1
done
exit "$status"

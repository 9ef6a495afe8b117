# shellcheck shell=sh
# Move what jobs have left to a trash beside it, bring it back, or remove it.
# Arguments: trash, restore, empty or list, then directories of jobs' calls, such as …/work/0. Prints those that it has
# done; list prints what trash would move.
verb=$1
shift
status=0
for directory; do
  trash=${directory%/*}/trash-${directory##*/}
  case $verb in
    trash) [ ! -d "$directory" ] || [ -e "$trash" ] || { mv -- "$directory" "$trash" && printf '%s\n' "$directory"; } ;;
    list) [ ! -d "$directory" ] || [ -e "$trash" ] || printf '%s\n' "$directory" ;;
    restore) [ ! -d "$trash" ] || [ -e "$directory" ] || { mv -- "$trash" "$directory" && printf '%s\n' "$directory"; } ;;
    empty) [ ! -d "$trash" ] || { chmod -R u+w -- "$trash" && rm -rf -- "$trash" && printf '%s\n' "$directory"; } ;;
  esac || status=1
done
exit "$status"

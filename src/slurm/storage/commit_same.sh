# shellcheck shell=sh
# Write one text under several names in directories, unless a name exists. A directory that is missing is made.
# Arguments: commit.sh, a hidden name, the text. Input: lines `DIRECTORY` and, below it, a line ` NAME` for each name.
# Prints the same lines, without the names that have another content.
set -f
umask 077
commit=$1 hidden=$2 text=$3 at=
finish() { if [ "$at" ]; then sh -c "$commit" sh "$at/$hidden" | sed 's/^/ /'; fi; }
while IFS= read -r line; do
    case $line in
        ' '*) printf %s "$text" > "$at/$hidden/${line# }" || exit ;;
        *)
            finish
            at=$line
            printf '%s\n' "$at"
            mkdir -p -- "$at/$hidden" || exit
            ;;
    esac
done
finish
echo end

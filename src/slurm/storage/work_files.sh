# shellcheck shell=sh
# List the files below directories. Input: the directories, each followed by NUL. Argument: work_entries.sh.
# Output, in hexadecimal because file names are bytes: the entries, then `end STATUS`; each is followed by NUL.
{ xargs -0 sh -c "$1" sh; printf 'end %s\0' $?; } | od -An -v -tx1

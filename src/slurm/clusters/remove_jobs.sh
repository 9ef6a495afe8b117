# shellcheck shell=sh
# Arguments: the directory of jobs, keys. Without its record, a submission does not exist, so that goes first.
. own_directory.sh
cd -- "$1" || exit
shift
for key; do
    rm -f -- "$key/submission.json" || exit
    rm -rf -- "$key" 2> /dev/null || { find "$key" -type d -exec chmod u+rwx {} + && rm -rf -- "$key"; } || exit
    rmdir -- "${key%/*}" 2> /dev/null
done
exit 0

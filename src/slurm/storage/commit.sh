# shellcheck shell=sh
# Link all files of a hidden directory to their names in the directory above it, unless the name exists.
# Argument: the hidden directory, which is removed. Prints the names that this process created.
cd -- "$1" || exit
# link(2) succeeds for one process only. On file systems without hard links, mv comes close.
find . ! -name . -prune -type f -exec sh -c 'ln "$@" .. 2> /dev/null' sh {} +
for name in *; do
    # sshfs and other FUSE file systems give each link an inode of its own. Claims differ in content.
    # shellcheck disable=SC3013 # -ef is in every sh that sites have
    if [ "$name" -ef "../$name" ] || cmp -s "$name" "../$name" 2> /dev/null ||
        { [ ! -e "../$name" ] && mv "$name" ..; }
    then echo "$name"; fi
done
cd .. && rm -r "$1"

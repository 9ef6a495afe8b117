# shellcheck shell=sh
# Unpack an archive from standard input beside its target, then move each file into place atomically.
# Arguments: the name of a hidden directory, the target directory, and directories to create.
# Calls of `place` follow this text; they rename the files in their order.
. plain_tools.sh
umask 077
hidden=$1.$$ target=$2
shift
mkdir -p -- "$target" "$@" && cd -- "$target" || exit
trap 'rm -rf "$hidden"' EXIT
# sync(1) of coreutils fsyncs the files that it is given; one that takes no files syncs all, which is slower.
mkdir "$hidden" && tar -xomf - -C "$hidden" && find "$hidden" -type f -exec sync {} + || exit

# place DIRECTORY NAME…: moves files of the archive to a directory below the target.
place() {
    directory=$PWD/$1
    shift
    (cd "$hidden" && mv -f -- "$@" "$directory") || exit
}

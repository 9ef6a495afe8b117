# shellcheck shell=sh
# Prints the kilobytes, the time of the last change, and the path of each job, environment and sent file.
# Argument: the root.
cd -- "$1" 2> /dev/null || exit 0
sizes() { find "$1" -mindepth "$2" -maxdepth "$2" -exec du -sk --time --time-style=+%s {} +; }
[ ! -d jobs ] || sizes jobs 2
for directory in envs blobs reuse; do
    [ ! -d "$directory" ] || sizes "$directory" 1
done
exit 0 # what has been removed meanwhile has no size

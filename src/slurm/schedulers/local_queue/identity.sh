# shellcheck shell=sh
# Prints the identity of the local scheduler; gives its directory a name if it has none. Argument: the form of the
# directory (wire.FORM). Plain sh, because no Python is known when this runs.
# In a directory of another user it writes and prints nothing, with status 0.
umask 077
base=${SLURMTASKS_LOCAL_DIR:-/tmp/slurm-tasks-$(id -u)}
directory=$base/$1
mkdir -p "$base" 2> /dev/null
[ -n "$SLURMTASKS_LOCAL_DIR" ] || { [ -O "$base" ] && [ ! -L "$base" ]; } || exit 0
mkdir "$directory" 2> /dev/null
[ -O "$directory" ] && [ ! -L "$directory" ] || exit 0
if [ ! -e "$directory/name" ]; then
    new=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n') || exit 0
    { printf %s "$new" > "$directory/.name.$new" && ln "$directory/.name.$new" "$directory/name"; } 2> /dev/null
    rm -f "$directory/.name.$new"
fi
name=$(cat "$directory/name" 2> /dev/null) || exit 0
boot=$(cat /proc/sys/kernel/random/boot_id 2> /dev/null) ||
    boot=$(sysctl -n kern.boottime 2> /dev/null | sed 's/[^0-9]*\([0-9]*\).*/\1/')
printf 'name=%s boot=%s host=%s\n' "$name" "$boot" "$(uname -n)"

# shellcheck shell=sh
# Prints the key of an environment, then its state (`ready`, `failed N`, `free N` or `held N`) and details.
# Arguments: the environment's name; "look", to change nothing, not even the time of the last use. The key is the name and the architecture. The root is in SLURMTASKS_ROOT.
. ../transports/plain_tools.sh
. ../protocol/ownership.sh
. ../transports/fresh.sh
key="$1-$(uname -m)" mode=${2-}
echo "$key"
cd -- "$SLURMTASKS_ROOT/envs" 2> /dev/null || exit 0
here=$PWD lock=$PWD/$key.lock past=

# exit_if_ready: prints the record of the environment if there is one, after a check of who could have written it.
exit_if_ready() {
    set -- "$here"
    for name in "$key" "$key.json"; do [ ! -e "$name" ] || set -- "$@" "$here/$name"; done
    bad=$(foreign "$@")
    [ -z "$bad" ] || { echo "$bad"; exit; }
    [ "$mode" = look ] || touch -c "$key.json" 2> /dev/null
    ! text=$(cat "$key.json" 2> /dev/null) || { printf 'ready\n%s\n' "$text"; exit; }
}

# read_now FILE: prints a file of the lock as it is now.
read_now() {
    [ -z "$past" ] || ! appeared "$lock/$last/$1" || chmod u+r "$1" 2> /dev/null
    cat "$1" 2> /dev/null
}

exit_if_ready
if [ "$mode" != look ] && caches "$here"; then
    past=yes
    ! appeared "$here/$key.json" || exit_if_ready
    ! appeared "$lock" || freshen "$lock"
fi
# shellcheck disable=SC2012 # names of locks are numbers
last=$(ls "$lock" 2> /dev/null | sort -n | tail -n 1)
[ -n "$last" ] && cd "$lock/$last" 2> /dev/null || exit 0
if text=$(read_now failed); then printf 'failed %s\n%s\n' "$last" "$text"
elif [ -f given-up ] || read_now given-up > /dev/null; then echo "free $last"
else echo "held $last"; read_now owner; read_now beat; fi
true

# shellcheck shell=sh
# Prints the key of an environment, then its state (`ready`, `failed N`, `free N` or `held N`) and details.
# Argument: the environment's name. The key is the name and the architecture. The root is in SLURMTASKS_ROOT.
. ../transports/plain_tools.sh
. ../protocol/ownership.sh
key="$1-$(uname -m)"
echo "$key"
cd -- "$SLURMTASKS_ROOT/envs" 2> /dev/null || exit 0
here=$PWD
set -- "$here"
for name in "$key" "$key.json"; do [ ! -e "$name" ] || set -- "$@" "$here/$name"; done
bad=$(foreign "$@")
[ -z "$bad" ] || { echo "$bad"; exit; }
touch -c "$key.json" 2> /dev/null
if text=$(cat "$key.json" 2> /dev/null); then printf 'ready\n%s\n' "$text"; exit; fi
# shellcheck disable=SC2012 # names of locks are numbers
last=$(ls "$key.lock" 2> /dev/null | sort -n | tail -n 1)
[ -n "$last" ] && cd "$key.lock/$last" 2> /dev/null || exit 0
if text=$(cat failed 2> /dev/null); then printf 'failed %s\n%s\n' "$last" "$text"
elif [ -f given-up ]; then echo "free $last"
else echo "held $last"; cat owner beat 2> /dev/null; fi
true

# shellcheck shell=sh
# Prints what a cluster is like: sections, each after a line that begins with the fence.
# Arguments: the fence, the setup's steps (bash), the scheduler's survey (sh), the root as given, programs to look for.
section() { printf '\n%s %s\n' "$fence" "$1"; }
fence=$1 setup=$2 survey=$3
exec 2>&1 < /dev/null
. ../places/root.sh
set_root "$4"
shift 4
section place; uname -n; id -un; id -u; date +%s
section tools; for tool; do command -v "$tool" > /dev/null || echo "$tool"; done
section setup; bash -c "$setup" && echo && echo ready
. ../transports/plain_tools.sh
. ../places/foreign_state.sh
near=$root
while [ ! -e "$near" ] && [ ! -L "$near" ]; do near=$(dirname "$near"); done
section root; echo "$root"; echo "$near"; ls -ldnL "$near"
section state; foreign_state "$root"
section write; (umask 077; echo > "$near/.slurm-doctor.$$") && rm "$near/.slurm-doctor.$$"
section space; df -Pk "$near" | tail -n 1
section files; df -Pi "$near" | tail -n 1
section scheduler; sh -c "$survey"
section containers
. ../environments/runtimes.sh
section end

# shellcheck shell=sh
# Prints facts about a cluster in sections. A line that begins with the fence precedes each section.
# Arguments: the fence, the setup steps (bash), the scheduler's survey (sh), the root, programs to find on PATH.
section() { printf '\n%s %s\n' "$fence" "$1"; }
fence=$1 setup=$2 survey=$3
exec 2>&1 < /dev/null
. ../places/default_root.sh
set_root "$4"
shift 4
section place; uname -n; id -un; id -u; date +%s
section tools; for tool; do command -v "$tool" > /dev/null || echo "$tool"; done
section setup; bash -c "$setup" && echo && echo ready
. ../transports/plain_tools.sh
. ../places/foreign_state.sh
nearest=$root
while [ ! -e "$nearest" ] && [ ! -L "$nearest" ]; do nearest=$(dirname "$nearest"); done
section root; echo "$root"; echo "$nearest"; ls -ldnL "$nearest"
section state; foreign_state "$root"
section write; (umask 077; echo > "$nearest/.slurm-doctor.$$") && rm "$nearest/.slurm-doctor.$$"
section space; df -Pk "$nearest" | tail -n 1
section files; df -Pi "$nearest" | tail -n 1
section scheduler; sh -c "$survey"
section containers
. ../environments/runtimes.sh
section end

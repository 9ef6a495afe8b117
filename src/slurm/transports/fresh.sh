# shellcheck shell=sh
# Functions that find what other machines have written on file systems that cache; protocol/freshness.py has the facts.
# `known` tells if to look past caches: `yes`, `no`, or empty to find out.

# caches DIRECTORY: whether its file system is of a kind that caches, by proc(5), /proc/pid/mountinfo.
caches() {
    [ -r /proc/self/mountinfo ] && slurmtasks_at=$(cd -P -- "$1" 2> /dev/null && pwd)/ || return 1
    slurmtasks_at=$slurmtasks_at awk '
        { mount = $5; gsub(/\\040/, " ", mount); if (mount != "/") mount = mount "/" }
        index(ENVIRON["slurmtasks_at"], mount) == 1 && length(mount) >= longest {
            longest = length(mount)
            for (field = 7; field < NF && $field != "-"; field++);
            kind = $(field + 1)
        }
        END { exit (kind !~ /^(nfs4?|fuse(\..*)?)$/) }' /proc/self/mountinfo
}

# look_past DIRECTORY: whether to look past caches there. What is found out is printed as an error message.
look_past() {
    if [ -z "$known" ] && [ -d "$1" ]; then
        if caches "$1"; then known=yes; else known=no; fi
        echo "slurm-tasks-caches $known" >&2
    fi
    [ "$known" = yes ]
}

# freshen DIRECTORY...: makes the next listing of each fresh.
freshen() { chmod u+x -- "$@" 2> /dev/null || true; }

# appeared PATH: whether a path exists that this machine remembers as absent. Lists each directory once.
# shellcheck disable=SC2012 # one name a line will do
appeared() {
    if [ "${1%/*}" != "$slurmtasks_listed" ]; then
        slurmtasks_listed=${1%/*}
        freshen "$slurmtasks_listed"
        slurmtasks_names=/$(ls -A -- "$slurmtasks_listed" 2> /dev/null | tr '\n' /)
    fi
    case $slurmtasks_names in
        *"/${1##*/}/"*) ln -- /dev/null "$1" 2> /dev/null || [ -e "$1" ] ;; # fails, but first looks for the name
        *) false ;;
    esac
}

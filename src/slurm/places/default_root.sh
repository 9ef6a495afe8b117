# shellcheck shell=sh
# set_root ROOT: sets `root` to the path of a root: as given, from ~/, or for "~" alone the default.
# The default is where sites keep large shared files, else the home. Never /tmp, which nodes don't share.
# shellcheck disable=SC2034,SC2088 # the caller uses `root`; "~" is meant as it stands
set_root() {
    case $1 in
        "~") root=${SCRATCH:-${WORK:-$HOME}}/slurm-jobs ;;
        "~/"*) root=$HOME/${1#??} ;;
        *) root=$1 ;;
    esac
}

# shellcheck shell=sh
. ../protocol/ownership.sh

# foreign_state ROOT: prints a line for each of our directories in it, or link on the way, that others could have made.
foreign_state() {
    strange_link "$1"
    at=$1
    set --
    for name in jobs envs blobs reuse; do
        [ ! -L "$at/$name" ] || strange_link "$at/$name"
        [ ! -e "$at/$name" ] || set -- "$@" "$at/$name"
    done
    [ $# = 0 ] || foreign "$@"
}

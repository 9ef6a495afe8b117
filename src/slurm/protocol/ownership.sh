# shellcheck shell=sh
# Check who owns a file and who can change it. slurm.protocol.ownership parses the output of `foreign` and `strange_link`.
me=$(id -u)
# alone GID: succeeds if the user is the only member of the group.
alone() {
    named=$(getent group "$1") && { echo "$named"; getent passwd; } |
        awk -F: -v name="$(id -un)" -v me="$me" -v gid="$1" '
            NR == 1 {
                mine = $1 == name
                for (i = split($4, members, ","); i > 0; i--) if (members[i] == name) mine = 1; else others = 1
                next
            }
            $4 == gid { if ($3 == me) mine = 1; else others = 1 }
            END { exit others || !mine }'
}
# foreign PATH…: prints a line for each path that another user owns or can write.
foreign() {
    LC_ALL=C find -L "$@" -prune \( ! -user "$me" -o -perm -020 -o -perm -002 \) -exec ls -ldnL {} + |
    while read -r mode links owner group rest; do
        case "$owner $mode" in
            "$me "????????w*) ;;
            "$me "?????w*) ! alone "$group" || continue ;;
        esac
        printf 'untrusted %s: %s\n' "$me" "$mode $links $owner $group $rest"
    done
}
# strange_link PATH: prints a line for the first link on the path that neither the user nor root owns.
strange_link() (
    set -f
    IFS=/ at=
    [ "${2-0}" -lt 40 ] || exit 0
    for name in $1; do
        [ -n "$name" ] || continue
        at=$at/$name
        [ -L "$at" ] || continue
        line=$(LC_ALL=C ls -ldn "$at")
        case $(printf '%s\n' "$line" | awk '{ print $3 }') in
            0|"$me") ;;
            *) printf 'untrusted %s: %s\n' "$me" "$line"; exit ;;
        esac
        target=$(readlink "$at")
        case $target in /*) ;; *) target=${at%/*}/$target ;; esac
        strange_link "$target" $(( ${2-0} + 1 ))
    done
)
# digest PATH: prints the SHA-256 of a file, or nothing if no program can compute it.
digest() {
    { sha256sum < "$1" || shasum -a 256 < "$1" || openssl dgst -sha256 -r < "$1"; } 2> /dev/null | cut -c 1-64
}

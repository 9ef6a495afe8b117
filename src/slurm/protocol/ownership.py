"""Ownership: functions of sh that tell whose a file is and who else can change it, and what they print.

The rule is that of `slurm.protocol.files.is_private`. It is written three times, once for each place that has to apply
it: there in Python, here for commands on another machine, and in `slurm.protocol.boot.BOOT`, which runs before anything
of ours can be imported. A test holds the three against one table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from slurm.errors import UntrustedFile

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELL = r"""
me=$(id -u)
alone() { # gid: whether the user is the only member of a group
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
foreign() { # paths: a line for each that is not the user's, or that others can write
    LC_ALL=C find -L "$@" -prune \( ! -user "$me" -o -perm -020 -o -perm -002 \) -exec ls -ldnL {} + |
    while read -r mode links owner group rest; do
        case "$owner $mode" in
            "$me "????????w*) ;;
            "$me "?????w*) ! alone "$group" || continue ;;
        esac
        printf 'untrusted %s: %s\n' "$me" "$mode $links $owner $group $rest"
    done
}
strange_link() ( # path: a line if neither the user nor root has made a link on the way to it
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
digest() { # path: its SHA-256, or nothing where nobody can tell it
    { sha256sum < "$1" || shasum -a 256 < "$1" || openssl dgst -sha256 -r < "$1"; } 2> /dev/null | cut -c 1-64
}
"""
"""Functions of sh. What `foreign` and `strange_link` print is for `check_output`."""

_LINE = re.compile(r"^untrusted (\d+): (.)(\S{9})\S* +\d+ +(\d+) +\d+ +\d+ +\S+ +\S+ +\S+ \.?(/.*)$", re.MULTILINE)
"""Who asked, and the line of `ls -ldn` (POSIX): mode, links, owner, group, bytes, three words for the time, path."""


def untrusted_files(output: str) -> Iterator[UntrustedFile]:
    """An error for each line of `SHELL`'s functions in what a command printed."""
    for found in _LINE.finditer(output):
        me, kind, letters, owner, path = found.groups()
        path = path.partition(" -> ")[0] if kind == "l" else path
        yield UntrustedFile(path, uid=int(owner), mode=_mode(letters), me=int(me), link=kind == "l")


def check_output(output: str) -> None:
    """Raise the first of `untrusted_files`."""
    for error in untrusted_files(output):
        raise error


def _mode(letters: str) -> int:
    """The number that `rwxr-x---` stands for."""
    return sum(1 << (8 - place) for place, letter in enumerate(letters) if letter not in "-ST")

# shellcheck shell=sh
# Copy the shell of this machine, and the libraries that it loads, so that it runs in any root directory.
# Arguments: the new directory.
umask 077
mkdir -- "$1" && cd -- "$1" && shell=$(command -v sh) && cp -L -- "$shell" sh || exit
ldd "$shell" 2> /dev/null | while read -r first arrow second _; do
    case $first in /*) cp -L -- "$first" loader ;; esac # without a path, it is found by the loader
    [ "$arrow" != "=>" ] || case $second in /*) cp -L -- "$second" "${first##*/}" ;; esac
done
chmod 0500 sh
[ ! -e loader ] || chmod 0500 loader
set -- ./sh
[ ! -e loader ] || set -- ./loader --library-path . ./sh
"$@" -c 'exit 7'
[ $? = 7 ] || { echo "a copy of $shell does not run on $(uname -n)" >&2; exit 1; }

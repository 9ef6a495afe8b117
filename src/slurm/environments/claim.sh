# shellcheck shell=sh
# Take the build lock of an environment. Prints `mine` or `taken`.
# Arguments: the directory of environments, the key, the lock's number, a token, a description of this process.
umask 077
make() { mkdir -p -- "$1.lock" "$1"; }
taken() { [ ! -d "$1.lock" ] || [ -d "$1.lock/$2" ] || [ -f "$1.json" ]; }
{ make "$1/$2" || make "$1/$2"; } && cd -- "$1" || exit
[ -O . ] || { echo "$1 is not yours" >&2; exit 1; }
shift
# Have git ignore a root inside a project: otherwise each submission would change the project's sources.
[ -e ../.gitignore ] || echo '*' > ../.gitignore
# The lock may vanish at any moment: its holder finishes, or the environment is removed. Then the caller tries again.
mkdir "$1.lock/$2" || { ! taken "$1" "$2" && mkdir "$1.lock/$2"; } || { taken "$1" "$2" && echo taken; exit; }
if [ -f "$1.json" ]; then mv "$1.lock" ".$1.$3.lock" && rm -rf ".$1.$3.lock"; echo taken; exit; fi
if printf '%s\n' "$4" > "$1.lock/$2/owner" && mkdir "$1/$3"; then echo mine; exit; fi
# shellcheck disable=SC2015 # `taken` is printed in both cases
[ ! -d "$1.lock/$2" ] || [ ! -d "$1" ] && rm -rf "$1.lock/$2" && echo taken

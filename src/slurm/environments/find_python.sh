# shellcheck shell=sh
# Prints the path of the first interpreter that has a version. Arguments: the minor version, candidates.
wanted=$1
shift
for python; do
    # shellcheck disable=SC2088 # a literal "~/"
    case $python in "~/"*) python=$HOME/${python#"~/"} ;; esac
    found=$(command -v "$python") || { echo "$python: not found" >&2; continue; }
    case $found in /*) ;; *) found=$PWD/$found ;; esac # a job may run elsewhere
    version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || continue
    # A shim of pyenv, asdf or mise chooses the version by the working directory, and a job has another one.
    case $found in
        */shims/*)
            real=$("$found" -c 'import sys; print(sys.executable)')
            [ ! -x "$real" ] || found=$real ;;
    esac
    echo "$found is Python $version" >&2
    [ "$version" != "$wanted" ] || { echo "$found"; exit 0; }
done
exit 1

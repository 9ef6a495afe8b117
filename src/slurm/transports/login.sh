# shellcheck shell=sh
# Start the user's login shell, and in it sh, which evaluates the next line of the input.
# Arguments: the command that evaluates it, and the command line that starts sh with that command.
case "${SHELL:-sh}" in
    *csh) exec sh -l -c "$1" ;; # csh takes -l alone only, and reads its rc file in any case
    *) exec "$SHELL" -l -c "$2" ;;
esac

# shellcheck shell=sh
# Prints a line each: architecture, user, group, home, the path of a Python or nothing, srun's version or nothing, runtimes.
uname -m
id -u
id -g
echo ~
command -v python3 || echo
srun --version 2> /dev/null || echo
. runtimes.sh

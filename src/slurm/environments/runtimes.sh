# shellcheck shell=sh
# Prints the names of the installed container runtimes.
for program in apptainer singularity podman docker; do
    ! command -v $program > /dev/null || printf '%s ' $program
done
if srun --help 2> /dev/null | grep -q -e --container-image; then printf 'pyxis '; fi

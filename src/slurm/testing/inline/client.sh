# shellcheck shell=sh
# Sends a command to the queue of the process that started this shell, and prints the answer.
# Arguments: the command. SLURMTASKS_INLINE is the directory where the queue listens (slurm.testing.inline.server).
[ -p "$SLURMTASKS_INLINE/requests" ] || { echo "slurm-inline: its process has ended" >&2; exit 1; }
request=$SLURMTASKS_INLINE/$$
mkfifo -m 600 "$request.answer" || exit
printf '%s\0' "$@" > "$request"
echo "$$" > "$SLURMTASKS_INLINE/requests"
{
    read -r status
    if [ "$status" -eq 0 ]; then cat; else cat >&2; fi
} < "$request.answer"
rm -f "$request" "$request.answer"
exit "$status"

# shellcheck shell=bash
# The functions of a job's script. The script sets job, index, attempt, step and status.
# shellcheck disable=SC2154 # see above

# moved_on: ends a requeued attempt whose element runs in another job by now.
moved_on() {
    for (( n = $1 + 1; n < attempt; n++ )); do
        [ ! -e "$job/attempts/$index.$n.next.json" ] || exit 1
    done
}

has_outcome() { [ -e "$job/outcomes/$index.json" ]; }

# note_log DIRECTORY FIRST: says in the log where the output is, if Slurm writes it elsewhere. A plugin of the site can
# change the path. The program's own standard output is a pipe in $(…), so this names the process.
note_log() {
    local log=$2+${SLURM_ARRAY_TASK_ID:-0}
    log=$1/${log#0+}.log
    [ -e "$log" ] || [ ! -d "$1" ] || printf '%s\n' \
        "The cluster writes the output of this job to $(readlink "/proc/$$/fd/1") on $(uname -n), not to this file." > "$log"
}

# count_memory_kills: sets kills to the number of processes of this control group that the kernel has killed for their
# memory. Reads the files of cgroups(7), version 1 or 2.
count_memory_kills() {
    local controllers path file name count
    kills=0
    while IFS=: read -r _ controllers path; do
        case $controllers in
            memory) file=/sys/fs/cgroup/memory$path/memory.oom_control ;;
            "") file=/sys/fs/cgroup$path/memory.events ;;
            *) continue ;;
        esac
        [ ! -r "$file" ] || while read -r name count; do
            [ "$name" != oom_kill ] || kills=$((kills + count))
        done < "$file"
    done < /proc/self/cgroup
} 2> /dev/null
count_memory_kills
slurmtasks_kills=$kills

# write_failure FILE: writes FILE, a record of the failure, for a process that a signal or os._exit ended.
# ln, unlike mv, keeps an existing record; mv is for file systems without hard links.
write_failure() {
    local record=$1 hidden=${1%/*}/.$index.$$ phase=process state="" id
    [ -d "$job" ] || printf '%s\n' "$(uname -n) does not see $job. Choose a root that all nodes see: Cluster(…, root=…)" >&2
    # SIGTERM may have come from the scheduler, which then ends this script too, and perhaps runs the job again. The
    # trap for SIGTERM waits for a program, but not for the shell's own `wait`.
    [ "$status" -ne 143 ] || { sleep 5 & while kill -0 $! 2> /dev/null; do wait $!; done; }
    if [ "$status" -eq 137 ]; then
        count_memory_kills
        [ "$kills" -le "$slurmtasks_kills" ] || state='"state": "OUT_OF_MEMORY", '
    fi
    if ! has_outcome && [ ! -e "$record" ] && [ -d "${record%/*}" ]; then
        [ -z "$step" ] || phase=setup
        id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID:-0}}
        id=${id:-${SLURM_JOB_ID:-0}}
        printf '{"protocol": 1, "status": "failed", "phase": "%s", "attempt": %d, "exit_code": %d, ' \
            "$phase" "$attempt" "$status" > "$hidden" &&
            printf '%s"ended": %d, "host": "%s", "job_id": "%s"}\n' \
                "$state" "$(date +%s)" "$(uname -n)" "$id" >> "$hidden" &&
            { ln "$hidden" "$record" || [ -e "$record" ] || mv "$hidden" "$record"; }
        rm -f "$hidden"
        [ "$status" -ne 0 ] || status=1
    fi
}

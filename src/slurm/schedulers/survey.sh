# shellcheck shell=sh
# Prints facts for the doctor: the configuration, partitions and, where there is accounting, the federation and the user's limits.
. clean.sh
for name in sbatch squeue scancel scontrol; do
    command -v $name > /dev/null || { echo "$name: command not found"; exit; }
done
config=$(timeout 30 scontrol show config 2>&1); status=$?
echo "$config"
[ $status -eq 0 ] || exit
sinfo --noheader --format='part|%P|%a|%l|%D|%T|%c|%m|%G'
timeout 10 scontrol show partition --oneliner | sed 's/^/use|/'
if echo "$config" | grep -q '^AccountingStorageType *= *accounting_storage/slurmdbd'; then
    timeout 10 scontrol show federation
    timeout 10 sacctmgr --noheader --parsable2 show assoc user="$(id -un)" \
        format=Account,Partition,MaxJobs,MaxSubmit,MaxWall | sed 's/^/assoc|/'
fi

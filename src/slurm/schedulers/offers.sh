# shellcheck shell=sh
# Prints what the cluster has, for the message of a refusal: partitions, and what the refused options choose among.
# Arguments: the cluster, or nothing for the default, then names of options.
. clean.sh
cluster=${1:+--clusters=$1}
shift
# shellcheck disable=SC2086 # none, or one word
sinfo --noheader --format='part|%P|%l|%D|%c|%m|%G' $cluster
for name; do
    # shellcheck disable=SC2086 # as above
    case $name in
        licenses) timeout 5 scontrol --oneliner show licenses $cluster | sed 's/^/license|/' ;;
        reservation) timeout 5 scontrol --oneliner show reservations $cluster | sed 's/^/reservation|/' ;;
        constraint | prefer) sinfo --noheader --format='feature|%f' $cluster ;;
        nodelist | exclude) sinfo --noheader --format='node|%N' $cluster ;;
        account | qos)
            timeout 5 sacctmgr --noheader --parsable2 show assoc where user="$(id -un)" format=account,qos |
                sed 's/^/assoc|/' ;;
    esac
done 2> /dev/null | sort -u
exit 0

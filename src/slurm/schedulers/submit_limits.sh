# shellcheck shell=sh
# Prints the limits of the user's associations and of each QOS.
. clean.sh
me=$(id -un)
sacctmgr --noheader --parsable2 show assoc where user="$me" format=account,partition,maxsubmit,grpsubmit |
    sed 's/^/assoc|/'
sacctmgr --noheader --parsable2 show qos format=name,maxsubmitpu,maxsubmitpa,grpsubmit | sed 's/|/||/; s/^/qos|/'

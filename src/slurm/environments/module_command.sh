# shellcheck shell=bash
# Define the command `module`. It is a function that a site's profile defines, so only login shells are sure to have it.
# /etc/profile comes last, because it may reset PATH.
for init in "${LMOD_PKG:-}/init/bash" "${MODULESHOME:-}/init/bash" /etc/profile.d/*{lmod,modules}*.sh \
    /usr/share/lmod/lmod/init/bash /usr/share/modules/init/bash /etc/profile; do
    type module > /dev/null 2>&1 && break
    # shellcheck disable=SC1090 # a site's own
    [ ! -r "$init" ] || . "$init"
done
type module > /dev/null 2>&1 || { echo "there is no module command on $(uname -n)" >&2; false; }

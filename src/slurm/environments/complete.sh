# shellcheck shell=sh
# Write the record of an environment, from standard input, unless there is one. Prints the record that counts.
# Arguments: the directory of environments, the key, the token.
umask 077
cd -- "$1" || exit
shift
cat > ".$1.$2" || exit
if [ ! -d "$1/$2" ] && [ ! -e "$1.json" ]; then
    rm -f ".$1.$2"; echo "$1 was removed while it was made" >&2; exit 1
fi
if ln ".$1.$2" "$1.json" 2> /dev/null || { [ ! -e "$1.json" ] && mv ".$1.$2" "$1.json"; }; then
    for other in "$1"/*; do [ "$other" = "$1/$2" ] || rm -rf "$other"; done
else
    rm -rf "${1:?}/$2"
fi
# Rename the lock first: otherwise a heartbeat could write into it while it is removed.
mv "$1.lock" ".$1.$2.lock" 2> /dev/null
rm -rf ".$1.$2" ".$1.$2.lock"
cat "$1.json"

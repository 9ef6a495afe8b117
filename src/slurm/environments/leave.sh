# shellcheck shell=sh
# Remove what was made of an environment, and leave the reason, from standard input, in its lock.
# Arguments: the directory of environments, the key, the lock's number, the token, the file for the reason.
cd -- "$1" || exit
shift
rm -rf "${1:?}/$3"
cat > "$1.lock/$2/.$4" && mv "$1.lock/$2/.$4" "$1.lock/$2/$4"

# shellcheck shell=sh
# Remove an incomplete environment, and write the reason, from standard input, into a file of its lock.
# Arguments: the directory of environments, the key, the lock's number, the token, the name of the file.
cd -- "$1" || exit
shift
rm -rf "${1:?}/$3"
cat > "$1.lock/$2/.$4" && mv "$1.lock/$2/.$4" "$1.lock/$2/$4"

# shellcheck shell=sh
# Print the SHA-256 of files. Input: their paths, each followed by NUL.
# Output, in hexadecimal because file names are bytes: lines `DIGEST  PATH`, as sha256sum writes them.
. ../transports/plain_tools.sh
for program in sha256sum 'shasum -a 256'; do
    if command -v "${program%% *}" > /dev/null; then break; fi
done
# shellcheck disable=SC2086 # the program and its options
xargs -0 -n 500 $program -- | od -An -v -tx1

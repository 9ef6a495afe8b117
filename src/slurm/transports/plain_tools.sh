# shellcheck shell=sh
# Make `ls`, `du`, `tar`, `cd` and similar tools behave and print the same for every user.
unset BLOCKSIZE BLOCK_SIZE CDPATH DF_BLOCK_SIZE DU_BLOCK_SIZE GREP_OPTIONS LS_BLOCK_SIZE POSIXLY_CORRECT QUOTING_STYLE
unset TAR_OPTIONS TIME_STYLE; LC_ALL=C; export LC_ALL

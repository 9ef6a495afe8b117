# shellcheck shell=sh
# After this `ls`, `du`, `tar`, `cd` and the like do and print the same for every user.
unset BLOCKSIZE BLOCK_SIZE CDPATH DF_BLOCK_SIZE DU_BLOCK_SIZE GREP_OPTIONS LS_BLOCK_SIZE POSIXLY_CORRECT QUOTING_STYLE
unset TAR_OPTIONS TIME_STYLE; LC_ALL=C; export LC_ALL

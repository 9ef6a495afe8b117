# shellcheck shell=bash
# Completes the words of `slurm` in bash. The completion of click would split words as bash does: at each colon of a URL.
_slurm_completion() {
    local line=${COMP_LINE:0:COMP_POINT} type value
    local -a words
    read -ra words <<< "$line"
    [[ $line == *[[:blank:]] ]] && words+=("")
    local last=$(( ${#words[@]} - 1 )) before=
    local current=${words[last]}
    [[ $current == --*=* ]] && current=${current#*=}
    # Readline replaces only what follows the last colon.
    [[ $COMP_WORDBREAKS == *:* && $current == *:* ]] && before=${current%"${current##*:}"}
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done < <(COMP_WORDS=$line COMP_CWORD=$last _SLURM_COMPLETE=bash_complete "$1")
}

complete -o nosort -F _slurm_completion slurm

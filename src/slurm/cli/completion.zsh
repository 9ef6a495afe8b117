# Completes the words of `slurm` in zsh. The completion of click would replace a whole word such as --on=name by the name.
_slurm_completion() {
    local -a plain described
    local type value help
    local words_before="${words[*]}" number=$((CURRENT - 1))
    compset -P '--*='
    for type value help in "${(@f)$(COMP_WORDS=$words_before COMP_CWORD=$number _SLURM_COMPLETE=zsh_complete slurm)}"; do
        case $type:$help in
            dir:*) _path_files -/ ;;
            file:*) _path_files ;;
            plain:_) plain+=("$value") ;;
            plain:*) described+=("$value:$help") ;;
        esac
    done
    (( $#described )) && _describe -V slurm described
    (( $#plain )) && compadd -V slurm -a plain
}

compdef _slurm_completion slurm

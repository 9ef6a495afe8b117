# Completes the words of `slurm` in fish. The completion of click finds nothing for --on=name, and cuts help at its first comma.
function _slurm_completion
    set -l word (commandline -t)
    set -l before (string match --regex -- '^--[^=]+=' $word)
    for line in (env _SLURM_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=$word slurm)
        set -l found (string split --max 1 -- , $line)
        switch $found[1]
            case dir
                __fish_complete_directories $found[2]
            case file
                __fish_complete_path $found[2]
            case plain
                echo "$before$found[2]"
        end
    end
end

complete --no-files --command slurm --arguments "(_slurm_completion)"

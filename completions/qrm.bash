_qrm() {
    local words=("${COMP_WORDS[@]}")
    # Only what stands before the cursor counts; of a word that is nothing but = or :, $2 has nothing.
    [[ ${words[COMP_CWORD]} == [=:]* ]] || words[COMP_CWORD]=$2
    mapfile -t COMPREPLY < <(COMPLETE=bash _QRM_COMPLETE_INDEX=$COMP_CWORD qrm -- "${words[@]}" 2>/dev/null)
    if [[ ${COMPREPLY-} == *[=/] ]]; then
        compopt -o nospace
    fi
}
complete -o bashdefault -o nosort -F _qrm qrm 2>/dev/null || complete -o bashdefault -F _qrm qrm

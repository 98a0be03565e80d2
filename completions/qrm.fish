complete --keep-order --exclusive --command qrm --arguments "(COMPLETE=fish qrm -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"

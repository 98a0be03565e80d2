# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_qrm_global_optspecs
    string join \n json socket= q/quiet h/help V/version
end

function __fish_qrm_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_qrm_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_qrm_using_subcommand
    set -l cmd (__fish_qrm_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c qrm -n "__fish_qrm_needs_command" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_needs_command" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_needs_command" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_needs_command" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "submit" -d 'Queue a command and print its id'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "run" -d 'Run a command as a job, here: its output, its input, signals passed on, its exit code'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "status" -d 'The machine at a glance: what is granted, what runs, what waits and why, what ended last'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "jobs" -d 'List jobs: the newest 50, or those that a filter finds'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "show" -d 'Everything of one job or task'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "logs" -d 'The output of a job: stdout to stdout, stderr to stderr'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "wait" -d 'Wait until jobs have ended'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "cancel" -d 'End jobs: those that wait are cancelled, those that run get TERM, and KILL ten seconds later, unless they were submitted with another --signal or --grace'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "hold" -d 'Keep jobs that wait from starting'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "release" -d 'Let jobs start that were held'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "suspend" -d 'Let executing jobs stand still'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "resume" -d 'Let suspended jobs go on'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "signal" -d 'Send a signal to all processes of executing jobs'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "update" -d 'Change what jobs ask for that have not started'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "retry" -d 'Queue jobs once more that have ended, as new jobs: the same command, directory, environment and options'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "progress" -d 'Say from inside a job how far it is; show, wait and events tell it to others'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "results" -d 'The result of a job: what it wrote to $QRM_JOB_DIR/results.json, and the files that match its --output'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "trace" -d 'When a job was in which stage'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "events" -d 'What happened: every decision of the daemon, numbered'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "cleanup" -d 'Forget jobs that have ended, and remove their output'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "daemon" -d 'Start, stop, reload or ask the daemon. Jobs go on when it stops'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "config" -d 'The settings of the daemon'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "doctor" -d 'What this machine gives to jobs and what it does not. The exit code is 1 if something is broken'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "completions" -d 'What a shell completes of qrm\'s verbs and options'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "man" -d 'The manual page of qrm, of one of its verbs, or of what is around it: qrmd, config, protocol, exit-codes'
complete -c qrm -n "__fish_qrm_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l name -d 'A name for people; the program\'s if not given' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l comment -d 'A remark for people' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l label -d 'A label for people and filters (`qrm jobs label.NAME=VALUE`). May be repeated' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l priority -d 'How urgent: 0 to 100, or low (25), normal (50), high (75), critical (100)' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l cpus -d 'Cpus to be counted for it; 1 if not given, 0 is legal' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l mem -d 'Memory to be counted for it, as 512M or 10G; not counted if not given' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l time -d 'End it after this long, as 90s, 15m or 2h: --signal, --grace, KILL' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l signal -d 'What asks it to end, at its time limit and when it is cancelled: a name as USR1, or a number [default: TERM]' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l grace -d 'How long it has after that before it is killed [default: 10s]' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l queue-timeout -d 'It fails if it has not started so long after it was submitted; of an array, those of its tasks that have not' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l deadline -d 'It is over by then: one that waits fails, one that runs is ended as at its time limit' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l begin -d 'Not before this: 18:00, \'tomorrow 9:00\', +2h, or RFC 3339' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l after -d 'After these have ended, however: ids as 12 or 12.3, separated by commas' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l after-ok -d 'After these have completed; cancelled if one does not' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l after-fail -d 'After these have failed; cancelled if one does not' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l after-start -d 'After these have started' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l retries -d 'Run it again up to so many times when it fails' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l retry-on -d 'Only after these: exit codes, oom, lost, preempted, separated by commas. Without it any exit code but 0, any signal, and oom' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l backoff -d 'The wait before an attempt, doubled each time up to the second value [default: 1s..1m]' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l key -d 'The same key from you is the same job: a submit whose reply was lost can be repeated' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l validate -d 'A shell command that must succeed before the job is queued' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l compile -d 'A shell command that prepares the job before it is queued' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l env -d 'A variable that it has besides yours, or instead of yours; without a value, yours as it is now. May be repeated' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l chdir -d 'Run it in this directory instead of the current one' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l stdout -d 'Append its standard output to this file, from its directory on: %j is its id, %a its task\'s index, %n its name, %u its user, %% a percent sign [default: stdout in the job\'s own directory]' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l stderr -d 'The same for its standard error; the same file keeps the order of both' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l stdin -d 'Read its standard input from this file, named in the same way [default: /dev/null]' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l output -d 'What it leaves, as a pattern below its directory: results/*.csv, or **/*.pt. What matches at its end is listed with size and SHA-256 in meta.json; `qrm results` shows it. May be repeated' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l array -d 'Make it an array: a task for each index A to B, every STEP, at most N at once; QRM_ARRAY_INDEX tells which' -r
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l bulk -d 'Read jobs from a file of JSON lines (- is standard input): all of them are queued, or none' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l any -d 'One of the dependencies is enough'
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l clean-env -d 'Of your variables it has only HOME, LANG, LOGNAME, PATH, SHELL and USER, and those of --env'
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l dry-run -d 'Only say what would become of it'
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l hold -d 'Queue it on hold'
complete -c qrm -n "__fish_qrm_using_subcommand submit" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand submit" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand submit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand submit" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand run" -l name -d 'A name for people; the program\'s if not given' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l comment -d 'A remark for people' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l label -d 'A label for people and filters (`qrm jobs label.NAME=VALUE`). May be repeated' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l priority -d 'How urgent: 0 to 100, or low (25), normal (50), high (75), critical (100)' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l cpus -d 'Cpus to be counted for it; 1 if not given, 0 is legal' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l mem -d 'Memory to be counted for it, as 512M or 10G; not counted if not given' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l time -d 'End it after this long, as 90s, 15m or 2h: --signal, --grace, KILL' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l signal -d 'What asks it to end, at its time limit and when it is cancelled: a name as USR1, or a number [default: TERM]' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l grace -d 'How long it has after that before it is killed [default: 10s]' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l queue-timeout -d 'It fails if it has not started so long after it was submitted; of an array, those of its tasks that have not' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l deadline -d 'It is over by then: one that waits fails, one that runs is ended as at its time limit' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l begin -d 'Not before this: 18:00, \'tomorrow 9:00\', +2h, or RFC 3339' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l after -d 'After these have ended, however: ids as 12 or 12.3, separated by commas' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l after-ok -d 'After these have completed; cancelled if one does not' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l after-fail -d 'After these have failed; cancelled if one does not' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l after-start -d 'After these have started' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l retries -d 'Run it again up to so many times when it fails' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l retry-on -d 'Only after these: exit codes, oom, lost, preempted, separated by commas. Without it any exit code but 0, any signal, and oom' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l backoff -d 'The wait before an attempt, doubled each time up to the second value [default: 1s..1m]' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l key -d 'The same key from you is the same job: a submit whose reply was lost can be repeated' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l validate -d 'A shell command that must succeed before the job is queued' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l compile -d 'A shell command that prepares the job before it is queued' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l env -d 'A variable that it has besides yours, or instead of yours; without a value, yours as it is now. May be repeated' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l chdir -d 'Run it in this directory instead of the current one' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand run" -l stdout -d 'Append its standard output to this file, from its directory on: %j is its id, %a its task\'s index, %n its name, %u its user, %% a percent sign [default: stdout in the job\'s own directory]' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l stderr -d 'The same for its standard error; the same file keeps the order of both' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l stdin -d 'Read its standard input from this file, named in the same way [default: /dev/null]' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l output -d 'What it leaves, as a pattern below its directory: results/*.csv, or **/*.pt. What matches at its end is listed with size and SHA-256 in meta.json; `qrm results` shows it. May be repeated' -r
complete -c qrm -n "__fish_qrm_using_subcommand run" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand run" -l any -d 'One of the dependencies is enough'
complete -c qrm -n "__fish_qrm_using_subcommand run" -l clean-env -d 'Of your variables it has only HOME, LANG, LOGNAME, PATH, SHELL and USER, and those of --env'
complete -c qrm -n "__fish_qrm_using_subcommand run" -l dry-run -d 'Only say what would become of it'
complete -c qrm -n "__fish_qrm_using_subcommand run" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand run" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand run" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand run" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand status" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand status" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand status" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand status" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand status" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand jobs" -l limit -d 'At most so many' -r
complete -c qrm -n "__fish_qrm_using_subcommand jobs" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand jobs" -l all -d 'All that there are, not just the newest'
complete -c qrm -n "__fish_qrm_using_subcommand jobs" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand jobs" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand jobs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand jobs" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand show" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand show" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand show" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand show" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand show" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand logs" -l tail -d 'Only the last N lines of each' -r
complete -c qrm -n "__fish_qrm_using_subcommand logs" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand logs" -s f -l follow -d 'Go on until the job has ended; waits for one that has not started'
complete -c qrm -n "__fish_qrm_using_subcommand logs" -l stderr -d 'Only what it wrote to standard error'
complete -c qrm -n "__fish_qrm_using_subcommand logs" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand logs" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand logs" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand logs" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand wait" -l timeout -d 'At most this long; then the exit code is 124' -r
complete -c qrm -n "__fish_qrm_using_subcommand wait" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand wait" -l any -d 'Until the first of them has'
complete -c qrm -n "__fish_qrm_using_subcommand wait" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand wait" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand wait" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand cancel" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand cancel" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand cancel" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand cancel" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand cancel" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand hold" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand hold" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand hold" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand hold" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand hold" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand release" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand release" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand release" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand release" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand release" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand suspend" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand suspend" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand suspend" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand suspend" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand suspend" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand resume" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand resume" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand resume" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand resume" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand resume" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand signal" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand signal" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand signal" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand signal" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand signal" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand update" -l name -d 'A name for people' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l comment -d 'A remark for people; empty takes it away' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l label -d 'Put a label on it, or take it away: NAME=. May be repeated' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l priority -d 'How urgent: 0 to 100, or low (25), normal (50), high (75), critical (100)' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l width -d 'How many tasks of an array may run at once; 0 is as many as fit' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l cpus -d 'Cpus to be counted for it' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l mem -d 'Memory to be counted for it, as 512M or 10G; 0 is not counted' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l time -d 'End it after this long; 0 is never' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l begin -d 'Not before this: 18:00, \'tomorrow 9:00\', +2h, or RFC 3339' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l retries -d 'Run it again up to so many times when it fails' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l queue-timeout -d 'It fails if it has not started so long after it was submitted; 0 is never' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l deadline -d 'It is over by then' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l signal -d 'What asks it to end' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l grace -d 'How long it has after that before it is killed' -r
complete -c qrm -n "__fish_qrm_using_subcommand update" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand update" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand update" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand update" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand retry" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand retry" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand retry" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand retry" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand retry" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand progress" -l job -d 'Which job; the one that this is inside of, if not given' -r
complete -c qrm -n "__fish_qrm_using_subcommand progress" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand progress" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand progress" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand progress" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand progress" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand results" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand results" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand results" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand results" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand results" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand trace" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand trace" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand trace" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand trace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand trace" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand events" -l after -d 'Only those after this number; without it, all that are kept, or with -f those from now on' -r
complete -c qrm -n "__fish_qrm_using_subcommand events" -l job -d 'Only those of this job and its tasks' -r
complete -c qrm -n "__fish_qrm_using_subcommand events" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand events" -s f -l follow -d 'Go on with what happens from now on'
complete -c qrm -n "__fish_qrm_using_subcommand events" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand events" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand events" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand events" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand cleanup" -l older-than -d 'Those that ended longer ago than this, as 12h, 7d' -r
complete -c qrm -n "__fish_qrm_using_subcommand cleanup" -l keep-last -d 'But not the last N that ended' -r
complete -c qrm -n "__fish_qrm_using_subcommand cleanup" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand cleanup" -l dry-run -d 'Only say how many they are'
complete -c qrm -n "__fish_qrm_using_subcommand cleanup" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand cleanup" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand cleanup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand cleanup" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -f -a "start" -d 'Start it, if it does not run. Every verb but `daemon stop` and `daemon status` does so by itself'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -f -a "stop" -d 'Stop it. Jobs go on, and their ends are recorded when it is back'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -f -a "status" -d 'How it is: the health check for scripts. Exits with 0 if it is well, with 3 if none runs or it speaks another version, with 4 if it can not write'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -f -a "reload" -d 'Have it read its configuration again. What can be used at once is; what needs a restart is named'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and not __fish_seen_subcommand_from start stop status reload help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from start" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from start" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from start" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from start" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from start" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from stop" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from stop" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from status" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from status" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from reload" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from reload" -l exec -d 'Replace it by the qrmd that is installed at its place now. Jobs go on, and nobody waits for long'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from reload" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from reload" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from reload" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from reload" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from help" -f -a "start" -d 'Start it, if it does not run. Every verb but `daemon stop` and `daemon status` does so by itself'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from help" -f -a "stop" -d 'Stop it. Jobs go on, and their ends are recorded when it is back'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from help" -f -a "status" -d 'How it is: the health check for scripts. Exits with 0 if it is well, with 3 if none runs or it speaks another version, with 4 if it can not write'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from help" -f -a "reload" -d 'Have it read its configuration again. What can be used at once is; what needs a restart is named'
complete -c qrm -n "__fish_qrm_using_subcommand daemon; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c qrm -n "__fish_qrm_using_subcommand config; and not __fish_seen_subcommand_from show check path help" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand config; and not __fish_seen_subcommand_from show check path help" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand config; and not __fish_seen_subcommand_from show check path help" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand config; and not __fish_seen_subcommand_from show check path help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand config; and not __fish_seen_subcommand_from show check path help" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand config; and not __fish_seen_subcommand_from show check path help" -f -a "show" -d 'Every setting as the daemon uses it, and where it came from'
complete -c qrm -n "__fish_qrm_using_subcommand config; and not __fish_seen_subcommand_from show check path help" -f -a "check" -d 'Say what of the configuration can not be meant, with line and column; exits with 2 if something can not. No daemon is asked'
complete -c qrm -n "__fish_qrm_using_subcommand config; and not __fish_seen_subcommand_from show check path help" -f -a "path" -d 'Where the configuration file is, or would be'
complete -c qrm -n "__fish_qrm_using_subcommand config; and not __fish_seen_subcommand_from show check path help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from show" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from check" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from check" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from path" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from path" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from path" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from path" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from path" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Every setting as the daemon uses it, and where it came from'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Say what of the configuration can not be meant, with line and column; exits with 2 if something can not. No daemon is asked'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "path" -d 'Where the configuration file is, or would be'
complete -c qrm -n "__fish_qrm_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c qrm -n "__fish_qrm_using_subcommand doctor" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand doctor" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand doctor" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand completions" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand completions" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand completions" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand completions" -s h -l help -d 'Print help'
complete -c qrm -n "__fish_qrm_using_subcommand completions" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand man" -l dir -d 'Write all pages below this directory instead, into man1, man5, man7 and man8' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand man" -l socket -d 'Talk to the daemon at this socket; without it QRM_SOCKET, the system\'s, or your own' -r -F
complete -c qrm -n "__fish_qrm_using_subcommand man" -l json -d 'Print JSON: one document, or a line for each event'
complete -c qrm -n "__fish_qrm_using_subcommand man" -s q -l quiet -d 'Print only what was asked for'
complete -c qrm -n "__fish_qrm_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c qrm -n "__fish_qrm_using_subcommand man" -s V -l version -d 'Print version'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "submit" -d 'Queue a command and print its id'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "run" -d 'Run a command as a job, here: its output, its input, signals passed on, its exit code'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "status" -d 'The machine at a glance: what is granted, what runs, what waits and why, what ended last'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "jobs" -d 'List jobs: the newest 50, or those that a filter finds'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "show" -d 'Everything of one job or task'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "logs" -d 'The output of a job: stdout to stdout, stderr to stderr'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "wait" -d 'Wait until jobs have ended'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "cancel" -d 'End jobs: those that wait are cancelled, those that run get TERM, and KILL ten seconds later, unless they were submitted with another --signal or --grace'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "hold" -d 'Keep jobs that wait from starting'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "release" -d 'Let jobs start that were held'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "suspend" -d 'Let executing jobs stand still'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "resume" -d 'Let suspended jobs go on'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "signal" -d 'Send a signal to all processes of executing jobs'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "update" -d 'Change what jobs ask for that have not started'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "retry" -d 'Queue jobs once more that have ended, as new jobs: the same command, directory, environment and options'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "progress" -d 'Say from inside a job how far it is; show, wait and events tell it to others'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "results" -d 'The result of a job: what it wrote to $QRM_JOB_DIR/results.json, and the files that match its --output'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "trace" -d 'When a job was in which stage'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "events" -d 'What happened: every decision of the daemon, numbered'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "cleanup" -d 'Forget jobs that have ended, and remove their output'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "daemon" -d 'Start, stop, reload or ask the daemon. Jobs go on when it stops'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "config" -d 'The settings of the daemon'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "doctor" -d 'What this machine gives to jobs and what it does not. The exit code is 1 if something is broken'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "completions" -d 'What a shell completes of qrm\'s verbs and options'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "man" -d 'The manual page of qrm, of one of its verbs, or of what is around it: qrmd, config, protocol, exit-codes'
complete -c qrm -n "__fish_qrm_using_subcommand help; and not __fish_seen_subcommand_from submit run status jobs show logs wait cancel hold release suspend resume signal update retry progress results trace events cleanup daemon config doctor completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c qrm -n "__fish_qrm_using_subcommand help; and __fish_seen_subcommand_from daemon" -f -a "start" -d 'Start it, if it does not run. Every verb but `daemon stop` and `daemon status` does so by itself'
complete -c qrm -n "__fish_qrm_using_subcommand help; and __fish_seen_subcommand_from daemon" -f -a "stop" -d 'Stop it. Jobs go on, and their ends are recorded when it is back'
complete -c qrm -n "__fish_qrm_using_subcommand help; and __fish_seen_subcommand_from daemon" -f -a "status" -d 'How it is: the health check for scripts. Exits with 0 if it is well, with 3 if none runs or it speaks another version, with 4 if it can not write'
complete -c qrm -n "__fish_qrm_using_subcommand help; and __fish_seen_subcommand_from daemon" -f -a "reload" -d 'Have it read its configuration again. What can be used at once is; what needs a restart is named'
complete -c qrm -n "__fish_qrm_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Every setting as the daemon uses it, and where it came from'
complete -c qrm -n "__fish_qrm_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Say what of the configuration can not be meant, with line and column; exits with 2 if something can not. No daemon is asked'
complete -c qrm -n "__fish_qrm_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "path" -d 'Where the configuration file is, or would be'

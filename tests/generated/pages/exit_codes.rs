//! qrm-exit-codes(7).

use crate::roff::Page;
use qrm_protocol::describe::plain;
use qrm_protocol::error::Code;
use serde_json::{Value, json};

/// What an exit code of qrm's own means.
fn meaning(exit: u8) -> &'static str {
    match exit {
        2 => {
            "The request was refused, denied or wrong, and nothing was changed: to try the same again does not help, unless a \
              bound was reached."
        }
        3 => "No daemon answers, or one of another version does.",
        4 => "The daemon failed, or can not do it now; nothing was changed, and the same may work later.",
        other => panic!("the exit code {other} of an error has no meaning yet"),
    }
}

pub fn page() -> String {
    let mut page = Page::new("qrm-exit-codes", 7, "what the exit codes of qrm say, and what scripts do with them");
    page.section("DESCRIPTION");
    page.text(
        "Two kinds of verbs end with two kinds of codes. `qrm run` and `qrm wait` with one id speak for a job: their exit \
         code is the job's own, as if its command had run here; so does `qrm attach`, unless it is left before. `qrm exec` ends as \
         the command that it ran. All others speak for themselves.",
    );
    page.section("VERBS THAT SPEAK FOR THEMSELVES");
    page.item("0", "", "What was asked for was done.");
    page.item(
        "1",
        "",
        "`qrm wait` of several jobs: all have ended, and one of them not well. `qrm doctor`: something does not work.",
    );
    for exit in [2, 3, 4] {
        let codes = Code::ALL.into_iter().filter(|code| code.exit_code() == exit);
        let codes: Vec<String> = codes.map(|code| format!("`{}`", json!(code).as_str().unwrap())).collect();
        page.item(&exit.to_string(), "", &format!("{} The errors are {}.", meaning(exit), codes.join(", ")));
    }
    page.item(
        "141",
        "",
        "Whoever read the output has gone, as in `qrm jobs | head \\-1`; that is no failure."
            .replace("\\-", "-")
            .as_str(),
    );
    page.section("VERBS THAT SPEAK FOR A JOB");
    for (code, what) in [
        ("0", "The job has completed: its command exited with 0."),
        ("1 to 123", "The command's own exit code; 2 also where qrm refused what was asked, before there was a job."),
        ("124", "The job has reached its time limit, or `qrm wait --timeout` its own."),
        (
            "125",
            "A failure of qrm itself, or of the job before its command ran: its validate or compile command, its start, \
                 its records; the message on standard error says which.",
        ),
        ("126", "The command could not be executed."),
        ("127", "There is no such command."),
        (
            "128 + N",
            "Signal N ended the command: 137 is KILL, which is also how the kernel ends what is out of memory, 139 \
                     SEGV, 143 TERM.",
        ),
        ("130", "The job was cancelled before its command ran, or interrupted from the keyboard."),
    ] {
        page.item(code, "", what);
    }
    page.text(
        "A command may exit with any of these codes by itself. `qrm show --json ID` tells them apart: `exit_code` and \
         `signal` are the command's, `failure.kind` and `failure.cause` say what failed.",
    );
    page.text("An array as a whole ends with 0 if all of its tasks have completed, and with 1 if one has failed.");
    page.section("ERRORS");
    page.text(
        "With `--json` an error is a document on standard output, beside the exit code: {\"error\": {\"code\", \"message\", \
         \"hint\"}}. The codes are stable words; more may be added.",
    );
    for code in Code::ALL {
        let word: Value = json!(code);
        page.item(word.as_str().unwrap(), &format!("exit {}", code.exit_code()), &plain(&description(code)));
    }
    page.section("EXAMPLES");
    page.text("A job's code in a script that ends with the first failure:");
    page.example("set -e\nqrm run --time 1h -- make test");
    page.text("What to do about each:");
    page.example(
        "qrm wait \"$id\" && status=0 || status=$?\ncase $status in\n  0) echo well ;;\n  124) echo \"took too long\" ;;\n  \
         125) echo \"qrm failed, not the job\" ;;\n  *) echo \"the job ended with $status\" ;;\nesac",
    );
    page.text("To submit once, however often a lost connection makes it necessary to try:");
    page.example("for wait in 0 10 60 600; do\n  sleep $wait\n  id=$(qrm submit --key \"nightly-$(date +%F)\" -- ./nightly) && break\n  \
         case $? in 3 | 4) ;; *) exit 1 ;; esac\ndone");
    page.see_also(&["qrm(1)", "qrm-run(1)", "qrm-wait(1)", "qrm-protocol(7)"]);
    page.done()
}

fn description(code: Code) -> String {
    let described = &crate::protocol::MADE.0["components"]["errors"][json!(code).as_str().unwrap()];
    described["message"].as_str().unwrap().to_owned()
}

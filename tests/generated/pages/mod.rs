//! The pages of the manual that are about no verb: qrmd(8), qrm-config(5), qrm-protocol(7), qrm-exit-codes(7),
//! qrm-security(7), qrm-scheduling(7), qrmd-simulate(8).
//! What is known to the code comes from the code; the rest is prose that stands here and nowhere else.

mod config;
mod daemon;
mod exit_codes;
mod protocol;
mod scheduling;
mod security;
mod simulate;

use crate::Files;
use std::process::{Command, Stdio};

/// All of them by file name.
pub fn made() -> Files {
    let all = [
        ("qrmd.8", daemon::page()),
        ("qrm-config.5", config::page()),
        ("qrm-protocol.7", protocol::page(&crate::protocol::MADE.0)),
        ("qrm-exit-codes.7", exit_codes::page()),
        ("qrm-security.7", security::page()),
        ("qrmd-simulate.8", simulate::page()),
        ("qrm-scheduling.7", scheduling::page(&crate::protocol::MADE.0)),
    ];
    all.map(|(name, text)| (name.to_owned(), text)).into()
}

/// What a program says of a page that it reads from its standard input; `None` if there is no such program.
fn said(program: &str, args: &[&str], page: &str) -> Option<(String, String)> {
    let mut command = Command::new(program);
    command.args(args).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").env_remove("MANPAGER");
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().ok()?;
    let mut to = child.stdin.take()?;
    let page = page.to_owned();
    let writer = std::thread::spawn(move || drop(std::io::Write::write_all(&mut to, page.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Some((text(output.stdout), text(output.stderr)))
}

#[test]
fn pages_are_read_without_a_warning_and_fit_eighty_columns() {
    let mut tools = 0;
    for (name, page) in made() {
        if let Some((shown, warnings)) = said("man", &["--warnings", "-E", "UTF-8", "-l", "-"], &page) {
            tools += 1;
            assert_eq!(warnings, "", "{name}");
            assert!(shown.contains("NAME"), "{name}: {shown}");
            // What is pasted is one line, however long it is.
            let mut wide = shown.lines().filter(|line| line.chars().count() > 80 && !line.contains("\"jsonrpc\""));
            assert_eq!(wide.next(), None, "{name}");
        }
        if let Some((shown, warnings)) = said("mandoc", &["-Tlint", "-Wwarning"], &page) {
            tools += 1;
            assert_eq!(shown + &warnings, "", "{name}");
        }
    }
    if tools == 0 {
        eprintln!("needs man or mandoc");
    }
}

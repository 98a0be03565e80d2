//! The program `qrmd`; everything is in its library.

fn main() -> std::process::ExitCode {
    qrm_daemon::main()
}

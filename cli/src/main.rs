//! The program `qrm`; everything is in its library.

fn main() -> std::process::ExitCode {
    qrm_cli::main()
}

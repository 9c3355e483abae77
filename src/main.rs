//! The `inferq` command.

fn main() -> std::process::ExitCode {
    inferq::cli::main()
}

//! The load of the end-to-end tests, as a process that they can kill; see `bourse_tests::load`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match bourse_tests::load::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the load ends: {error}");
            ExitCode::FAILURE
        }
    }
}

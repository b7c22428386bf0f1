//! Where the processes of a cluster say what they do.

use tracing_subscriber::EnvFilter;

/// Logs to standard error, `info` and worse; `BOURSE_LOG` filters otherwise, as in `BOURSE_LOG=debug` or
/// `BOURSE_LOG=bourse_master=debug,info`.
pub fn start() {
    let filter = EnvFilter::try_from_env("BOURSE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // A line that finds no room on a full disk is lost. Telling so would go to the same place, and panic there.
        .log_internal_errors(false)
        .init();
}

//! `--check`, the same for every part that has settings.

use std::process::ExitCode;

use bourse_settings::Resolved;

use crate::exit::Exit;
use crate::print::out;

/// Prints every setting with its origin, and what is wrong.
pub fn check<C>(resolved: &Resolved<C>) -> anyhow::Result<ExitCode> {
    out(resolved.to_string().trim_end())?;
    let good = resolved.problems.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(Exit::Usage as u8) })
}

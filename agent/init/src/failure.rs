//! From an I/O error to a failure that names its step.

use std::io;

use bourse_init::record::Failure;
use bourse_init::step::Step;

/// Gives an error the step it happened in and the thing it happened to.
pub trait At<T> {
    /// `detail` is made only when there is an error.
    fn at(self, step: Step, detail: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: Step, detail: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| failure(step, &error, detail()))
    }
}

/// The failure for an error; where there is no error number, the error's words go into the detail.
pub fn failure(step: Step, error: &io::Error, detail: String) -> Failure {
    match error.raw_os_error() {
        Some(errno) => Failure { step, errno, detail },
        None => Failure { step, errno: 0, detail: format!("{detail}: {error}") },
    }
}

//! How a verb ends: the exit codes that scripts may rely on, and the failure that carries one.

use std::fmt;
use std::process::ExitCode;

use bourse_client::{ConnectError, SettingsError, connection};
use tonic::{Code, Status};

/// Exit codes, the same for all verbs but `run`, which exits with its task's status (and with [`RUN_FAILED`] for a
/// failure of Bourse itself). `bourse help` documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Failed = 1,
    /// Also clap's own code for arguments that it refuses.
    Usage = 2,
    NotFound = 3,
    Denied = 4,
    TimedOut = 6,
    Unreachable = 7,
    Conflict = 8,
}

/// `bourse run`: Bourse failed, not the task.
pub const RUN_FAILED: u8 = 125;

/// The page of exit codes in `--help`.
pub const HELP: &str = "\
Exit codes:
  0  done                     4  denied
  1  failed                   6  timed out
  2  wrong usage              7  the master cannot be reached
  3  not found                8  conflict with the present state
`bourse run` exits with its task's status (128+n for signal n), or with 125 when Bourse itself failed.";

/// A failure that knows its exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A failure with its exit code.
pub fn failed(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Failure { exit, message: message.into() })
}

/// Whether the master went away before it had answered, or with only a part of the answer.
pub fn is_away(status: &Status) -> bool {
    connection::never_answered(status)
}

/// What a call to the master came to, in words and as a code.
pub fn refused(status: Status) -> anyhow::Error {
    if is_away(&status) {
        let why = connection::innermost(&status);
        return failed(Exit::Unreachable, format!("the master went away ({why}); see whether it runs"));
    }
    let exit = match status.code() {
        Code::NotFound => Exit::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => Exit::Denied,
        Code::DeadlineExceeded => Exit::TimedOut,
        Code::Unavailable => Exit::Unreachable,
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => Exit::Conflict,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        _ => Exit::Failed,
    };
    failed(exit, status.message())
}

/// The exit code of an error, from wherever in its chain it is known.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(error.chain().find_map(exit_of).unwrap_or(Exit::Failed) as u8)
}

fn exit_of(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if let Some(error) = cause.downcast_ref::<ConnectError>() {
        return Some(match error {
            ConnectError::NoAnswer { .. } | ConnectError::Failed { .. } => Exit::Unreachable,
            ConnectError::Plain { .. } | ConnectError::CaFile { .. } | ConnectError::Token(_) => Exit::Usage,
        });
    }
    cause.is::<SettingsError>().then_some(Exit::Usage)
}

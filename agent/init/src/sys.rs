//! The system calls that the standard library does not offer, each behind a safe function.
//!
//! These are the only files of the crate with `unsafe` in them. The declarations are written by hand because the
//! program is kept free of dependencies; they follow the manual pages (section 2) for 64-bit Linux.
//! Everything here runs in a process with one thread, which `fork` and `setns` need.
#![allow(unsafe_code)]

mod descriptors;
mod limits;
mod mounts;
mod namespaces;
mod privileges;
mod processes;
mod signals;

use std::ffi::{CString, OsStr, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::errno::{EACCES, EINVAL, ENOSYS, EPERM};

pub use descriptors::*;
pub use limits::*;
pub use mounts::*;
pub use namespaces::*;
pub use privileges::*;
pub use processes::*;
pub use signals::*;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A text for the kernel; one with a zero byte in it is "invalid argument", as the kernel would say.
fn c_text(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| io::Error::from_raw_os_error(EINVAL))
}

/// What the kernel or a filter around the agent does not let be done stays undone.
fn if_allowed(result: io::Result<c_int>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(EPERM | EACCES | ENOSYS)) => Ok(()),
        result => result.map(drop),
    }
}

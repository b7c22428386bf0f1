//! Descriptors: those that this process was given, what it opens by them, and what is sent and waited for through them.

use std::ffi::{c_int, c_long, c_uint, c_ulong, c_void};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::{c_text, check};
use crate::errno::{ENOSYS, EOPNOTSUPP};

unsafe extern "C" {
    fn close(fd: c_int) -> c_int;
    fn dup2(old: c_int, new: c_int) -> c_int;
    fn fallocate(fd: c_int, mode: c_int, offset: i64, length: i64) -> c_int;
    fn fchdir(fd: c_int) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn poll(fds: *mut PollFd, count: c_ulong, timeout: c_int) -> c_int;
    fn recv(fd: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize;
    fn send(fd: c_int, buffer: *const c_void, length: usize, flags: c_int) -> isize;
    fn syscall(number: c_long, ...) -> c_long;
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

#[repr(C)]
struct PollFd {
    fd: c_int,
    events: i16,
    revents: i16,
}

/// For opening: what waits for somebody else, as a pipe does, is refused.
pub const O_NONBLOCK: i32 = 0o4_000;

/// For opening: a link in the place of the file is refused.
pub const O_NOFOLLOW: i32 = if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };
const AT_FDCWD: c_int = -100;
const SYS_CLOSE_RANGE: c_long = 436;
const SYS_OPENAT2: c_long = 437;

/// Takes ownership of a descriptor that this process was started with; an error when there is none of that
/// number.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    const F_SETFD: c_int = 2;
    const FD_CLOEXEC: c_int = 1;
    // SAFETY: fcntl with these arguments touches no memory. It also proves that the descriptor is open, and
    // the program calls this once for each number, before it opens anything itself: nobody else owns it.
    unsafe {
        check(fcntl(fd, F_SETFD, FD_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Closes every descriptor above standard error except the given ones.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut sorted: Vec<c_uint> = keep.iter().map(|&fd| fd as c_uint).collect();
    sorted.sort_unstable();
    let mut first: c_uint = 3;
    for fd in sorted.into_iter().chain([c_uint::MAX]) {
        if first < fd {
            // SAFETY: runs before this process owns any descriptor but those it keeps.
            let closed = unsafe { syscall(SYS_CLOSE_RANGE, first, fd - 1, 0 as c_uint) };
            match check(closed as c_int) {
                Err(error) if error.raw_os_error() == Some(ENOSYS) => return close_each_but(keep),
                closed => closed?,
            };
        }
        first = fd.wrapping_add(1);
    }
    Ok(())
}

/// The same where the kernel cannot close a range, which came with Linux 5.9.
fn close_each_but(keep: &[RawFd]) -> io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && !keep.contains(fd))
        .collect();
    for fd in open {
        // SAFETY: as above; the descriptor of the listing itself is closed by now, and closing it again is
        // refused without effect.
        unsafe { close(fd) };
    }
    Ok(())
}

/// Makes `target` (0, 1 or 2) another name of `fd`; unlike its source it stays open over `execve`.
pub fn dup_onto(fd: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    // SAFETY: both are numbers; descriptors 0 to 2 are owned by nobody in this program.
    check(unsafe { dup2(fd.as_raw_fd(), target) }).map(drop)
}

/// Sends one message; a peer that is gone is an error, not a signal.
pub fn send_message(fd: BorrowedFd<'_>, message: &[u8]) -> io::Result<()> {
    const MSG_NOSIGNAL: c_int = 0x4000;
    // SAFETY: the buffer is `message`, valid for its length.
    let sent = unsafe { send(fd.as_raw_fd(), message.as_ptr().cast(), message.len(), MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for one message; empty when the peer has gone.
pub fn receive_message(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for writes of its length.
    let got = unsafe { recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Reads of an open file never wait from now on.
pub fn never_wait(fd: BorrowedFd<'_>) -> io::Result<()> {
    const F_SETFL: c_int = 4;
    // SAFETY: fcntl with these arguments touches no memory.
    check(unsafe { fcntl(fd.as_raw_fd(), F_SETFL, O_NONBLOCK) }).map(drop)
}

/// Waits until one of these descriptors is readable or closed by its peer; tells which. What is absent never is.
pub fn wait_readable<const N: usize>(of: [Option<BorrowedFd<'_>>; N]) -> [bool; N] {
    const POLLIN: i16 = 1;
    // A negative number is passed over (poll(2)).
    let fd = |of: Option<BorrowedFd<'_>>| of.map_or(-1, |fd| fd.as_raw_fd());
    let mut fds = of.map(|of| PollFd { fd: fd(of), events: POLLIN, revents: 0 });
    // SAFETY: the array is valid for its length. An interruption reads as "none", and the caller asks again.
    unsafe { poll(fds.as_mut_ptr(), N as c_ulong, -1) };
    fds.map(|fd| fd.revents != 0)
}

/// Whether a path may lead through links.
#[derive(Clone, Copy, PartialEq)]
pub enum Links {
    Follow,
    Refuse,
}

/// Opens a file or directory for no more than to name it.
pub fn open_place(path: &Path, links: Links) -> io::Result<OwnedFd> {
    open_place_from(AT_FDCWD, path, links)
}

/// The same from an open directory on.
pub fn open_place_at(directory: BorrowedFd<'_>, path: &Path, links: Links) -> io::Result<OwnedFd> {
    open_place_from(directory.as_raw_fd(), path, links)
}

fn open_place_from(directory: RawFd, path: &Path, links: Links) -> io::Result<OwnedFd> {
    const O_PATH: u64 = 0o10_000_000;
    const O_CLOEXEC: u64 = 0o2_000_000;
    const RESOLVE_NO_SYMLINKS: u64 = 4;
    let path = c_text(path)?;
    let resolve = if links == Links::Refuse { RESOLVE_NO_SYMLINKS } else { 0 };
    let how = OpenHow { flags: O_PATH | O_CLOEXEC, mode: 0, resolve };
    // SAFETY: the path is a C string and `how` of the size that is said, and both outlive the call; the result is a
    // fresh descriptor that nobody else owns.
    unsafe {
        let fd = syscall(SYS_OPENAT2, directory, path.as_ptr(), &raw const how, size_of::<OpenHow>());
        Ok(OwnedFd::from_raw_fd(check(fd as c_int)?))
    }
}

/// Takes room on the disk for the first bytes of a file, whose length stays. Where a file system cannot, nothing is taken.
pub fn reserve(file: &File, bytes: i64) -> io::Result<()> {
    const FALLOC_FL_KEEP_SIZE: c_int = 1;
    // SAFETY: no memory involved.
    match check(unsafe { fallocate(file.as_raw_fd(), FALLOC_FL_KEEP_SIZE, 0, bytes) }) {
        Err(error) if !matches!(error.raw_os_error(), Some(ENOSYS | EOPNOTSUPP)) => Err(error),
        _ => Ok(()),
    }
}

/// Makes an open directory the working directory. That takes the right to pass the directory itself, and none to pass
/// those above it.
pub fn enter_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory involved.
    check(unsafe { fchdir(directory.as_raw_fd()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::processes::in_child;
    use super::*;

    #[test]
    fn without_close_range_each_descriptor_is_closed_but_those_to_keep() {
        let files = [File::open("/dev/null"), File::open("/dev/null")].map(|file| file.expect("it is there"));
        let [kept, closed] = files.each_ref().map(|file| file.as_raw_fd());
        let right = in_child(|| {
            close_each_but(&[kept]).is_ok() && inherited(kept).is_ok() && inherited(closed).is_err()
        });
        assert!(right);
    }
}

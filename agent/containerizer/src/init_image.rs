//! The program `bourse-init` in memory: embedded in the agent, written once to a sealed file without a name,
//! run from there. So there is no file that could be missing, outdated or tampered with, and all containers
//! share its pages.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bourse-init"));

/// The program, ready to be executed. Made by the first caller; a failure is not remembered.
pub fn image() -> io::Result<BorrowedFd<'static>> {
    static IMAGE: OnceLock<File> = OnceLock::new();
    if let Some(image) = IMAGE.get() {
        return Ok(image.as_fd());
    }
    let made = make()?;
    Ok(IMAGE.get_or_init(|| made).as_fd())
}

fn make() -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // From Linux 6.3 on, a machine may be set to refuse files like this unless asked for execution; before,
    // the kernel refuses to be asked.
    let executable = MFdFlags::from_bits_retain(libc::MFD_EXEC);
    let fd = match memfd_create(c"bourse-init", flags | executable) {
        Err(Errno::EINVAL) => memfd_create(c"bourse-init", flags)?,
        result => result?,
    };
    let mut file = File::from(fd);
    file.write_all(PROGRAM)?;
    let seals =
        SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_change_the_program_any_more() {
        let mut image =
            File::from(image().expect("memory for it").try_clone_to_owned().expect("a free descriptor"));
        assert!(image.write_all(b"x").is_err());
        assert!(image.set_len(0).is_err());
    }
}

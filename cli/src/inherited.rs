//! A listener that the process was started with, as its standard input.
//!
//! Whoever supervises a part holds its port over the part's ends and starts: between them nobody else can take it, and
//! collect the tokens of those who call. `bourse dev` does; systemd does with `StandardInput=socket`. Standard input,
//! and not `LISTEN_FDS`, because a descriptor that is only known by its number cannot be taken without `unsafe`.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, bail};
use nix::sys::socket::{getsockopt, sockopt};

/// The listener on standard input; `None` when that is anything else. From then on standard input is empty, so that
/// nobody whom this process starts has the listener too.
///
/// # Errors
/// It listens elsewhere than at `wanted`, which is what the settings were checked for.
pub fn listener(wanted: SocketAddr) -> anyhow::Result<Option<TcpListener>> {
    let stdin = std::io::stdin();
    // Of a file or a terminal it cannot even be asked.
    if !getsockopt(&stdin, sockopt::AcceptConn).unwrap_or(false) {
        return Ok(None);
    }
    let taken = stdin.as_fd().try_clone_to_owned().context("taking the listener on standard input")?;
    let nothing = File::open("/dev/null").context("opening /dev/null")?;
    nix::unistd::dup2_stdin(nothing).context("closing standard input")?;
    let listener = TcpListener::from(taken);
    let found = listener.local_addr().context("asking where the listener on standard input is")?;
    if found != wanted {
        bail!(
            "standard input is a socket that listens on {found}, not on {wanted}; give both the same address"
        );
    }
    // Its supervisor may have made it to wait.
    listener.set_nonblocking(true).context("preparing the listener on standard input")?;
    Ok(Some(listener))
}

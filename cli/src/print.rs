//! Where words go: what was asked for to standard output, everything else to standard error.
//!
//! The macros of the standard library and of `anstream` panic where a disk is full, and those of `anstream` are silent
//! where nobody reads, so that what goes on would go on for ever. Here the first is an error and the second an end.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use prost::{Message, Name};

use crate::render::{Output, json};

/// Prints a line to standard output, with its colours only where that is a terminal and nobody asked for none.
///
/// # Errors
/// It cannot be written, or nobody reads it any more.
pub fn out(line: impl Display) -> anyhow::Result<()> {
    lines([line])
}

/// Prints many lines, likewise.
///
/// # Errors
/// As [`out`].
pub fn lines<T: Display>(lines: impl IntoIterator<Item = T>) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    let written = lines.into_iter().try_for_each(|line| writeln!(out, "{line}"));
    written.context("writing to standard output")
}

/// Prints a message of the API as one document.
///
/// # Errors
/// As [`out`].
pub fn document<M: Message + Name>(message: &M) -> anyhow::Result<()> {
    out(format_args!("{:#}", json(message)?))
}

/// Tells what a change came to: a sentence for people, which is no result and goes to standard error, or the master's
/// answer, or the name of what was changed.
///
/// # Errors
/// As [`out`].
pub fn done<M: Message + Name>(
    output: Output,
    answer: &M,
    name: &str,
    sentence: impl Display,
) -> anyhow::Result<()> {
    match output {
        Output::Table => say(sentence),
        Output::Json => document(answer)?,
        Output::Name => out(name)?,
    }
    Ok(())
}

/// Says something to whoever called. It is lost where standard error cannot be written, as there is no other place for
/// it; what the process was asked for is not, as it would be by a panic.
pub fn say(what: impl Display) {
    let _ = writeln!(anstream::stderr(), "{what}");
}

/// Resolves when whoever read standard output has gone away. What is followed would notice it only with its next line,
/// which may never come.
pub async fn nobody_reads() {
    let gone = tokio::task::spawn_blocking(|| {
        let out = io::stdout();
        // Of an end for writing the kernel tells this without being asked for anything.
        let mut waited = [PollFd::new(out.as_fd(), PollFlags::empty())];
        while poll(&mut waited, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
        waited[0].revents().is_some_and(|told| told.intersects(PollFlags::POLLERR | PollFlags::POLLHUP))
    });
    if !gone.await.unwrap_or(false) {
        std::future::pending().await
    }
}

//! What is in a tar, put into a directory.
//!
//! The crate `tar` reads the archive, and writes files and links where it is told. Modes and links are those of the tar,
//! and so are times of files; a directory that it does not name is root's or the agent's, and open to all. Owners and
//! attributes come along where the agent is root, as nobody else may give them: of attributes those that a program may
//! set, and capabilities. What the kernel or overlayfs would go by is nobody's to bring.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, bail, ensure};
use nix::unistd::geteuid;
use rustix::fs::{XattrFlags, fsetxattr};
use rustix::io::Errno;
use tar::{Archive, Entry, Header, Unpacked};

use super::inside::{self, Inside, LEADS_OUT, Owner};

/// Bytes that are read of a tar at once.
const READ: usize = 1 << 18;

/// In bytes: what an entry may have before its content, its name, attributes and holes. All of it is held in memory.
const HEAD_MAX: u64 = 1 << 20;

/// The kind of an entry that names the archive (GNU tar, `--label`).
const LABEL: u8 = b'V';

/// What of a tar is not in its directory.
#[derive(Debug, Default, PartialEq)]
pub struct LeftOut {
    /// Devices and pipes: no device works in a container but those that it has anyway.
    pub devices: u64,
    /// Extended attributes of files and directories.
    pub attributes: u64,
    /// Whether all is the agent's own.
    pub owners: bool,
}

/// Puts what is in a tar into a directory that it makes; on an error that is left as far as it came. What would lead out
/// of it is refused.
pub fn unpack(tar: &File, root: &Path) -> anyhow::Result<LeftOut> {
    if let Some(compression) = compression(tar)? {
        bail!("it is compressed with {compression}, which is not read here");
    }
    let is_root = geteuid().is_root();
    let left = Rc::new(Cell::new(0));
    let tar = BufReader::with_capacity(READ, tar.try_clone()?);
    let mut archive = Archive::new(Metered { tar, left: Rc::clone(&left) });
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(is_root);
    let mut inside = Inside::make(root)?;
    let mut left_out = LeftOut { owners: !is_root, ..LeftOut::default() };
    let mut is_empty = true;
    let mut entries = archive.entries_with_seek()?;
    loop {
        left.set(HEAD_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.context("reading the next entry")?;
        left.set(u64::MAX);
        is_empty = false;
        let name = entry.path_bytes().into_owned();
        put(&mut entry, &name, &mut inside, &mut left_out)
            .with_context(|| format!("its entry {:?}", String::from_utf8_lossy(&name)))?;
    }
    ensure!(!is_empty, "nothing is in it");
    inside.finish().context("closing its directories")?;
    Ok(left_out)
}

fn put(
    entry: &mut Entry<'_, Metered>,
    name: &[u8],
    inside: &mut Inside,
    left_out: &mut LeftOut,
) -> anyhow::Result<()> {
    let kind = entry.header().entry_type();
    if kind.is_character_special() || kind.is_block_special() || kind.is_fifo() {
        left_out.devices += 1;
        return Ok(());
    }
    if kind.is_pax_global_extensions() || kind.as_byte() == LABEL {
        return Ok(());
    }
    let path = inside::path(name).context(LEADS_OUT)?;
    // The directory itself stays as it is: every user has to get in.
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    if kind.is_hard_link() {
        let target = entry.link_name_bytes().context("it does not say which file it is")?;
        let target = inside::path(&target).context(LEADS_OUT)?;
        return Ok(inside.hard_link(&path, &target)?);
    }
    let attributes = attributes(entry)?;
    // As the oldest tars had them.
    let is_old_directory = !kind.is_symlink() && name.ends_with(b"/") && entry.header().as_ustar().is_none();
    let file = if kind.is_dir() || is_old_directory {
        let owner = if left_out.owners { None } else { Some(owner(entry.header())?) };
        inside.directory(&path, entry.header().mode()? & 0o7777, owner)?
    } else {
        let place = inside.place(&path)?;
        match entry.unpack(place.path())? {
            Unpacked::File(file) => file,
            // Links have no attributes of their own that are kept.
            _ => return Ok(()),
        }
    };
    for (name, value) in attributes {
        if left_out.owners || !is_kept(&name) {
            left_out.attributes += 1;
            continue;
        }
        match fsetxattr(&file, &name, &value, XattrFlags::empty()) {
            Ok(()) => {}
            // The file system has none.
            Err(Errno::OPNOTSUPP) => left_out.attributes += 1,
            Err(error) => return Err(io::Error::from(error)).context("setting an extended attribute"),
        }
    }
    Ok(())
}

fn owner(header: &Header) -> anyhow::Result<Owner> {
    let number = |what: &'static str, number: u64| {
        u32::try_from(number).with_context(|| format!("Linux has no {what} {number}"))
    };
    Ok(Owner { user: number("user", header.uid()?)?, group: number("group", header.gid()?)? })
}

/// The extended attributes of an entry, by their names.
fn attributes(entry: &mut Entry<'_, Metered>) -> anyhow::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    let Some(records) = entry.pax_extensions()? else { return Ok(found) };
    // The crate passes over those that it cannot read, too.
    for record in records.flatten() {
        let key = record.key_bytes();
        // What the crate takes for the content of such a file is not its content.
        let has_holes = key.starts_with(b"GNU.sparse.");
        ensure!(
            !has_holes,
            "it has holes in the way of pax, which are not read here; make the tar with --format=gnu"
        );
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            found.push((name.to_vec(), record.value_bytes().to_vec()));
        }
    }
    Ok(found)
}

/// Not what a security module or overlayfs goes by (`trusted.overlay.`, and `user.overlay.` in user namespaces).
fn is_kept(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
}

/// A tar of which so much is read and no more.
struct Metered {
    tar: BufReader<File>,
    left: Rc<Cell<u64>>,
}

impl Read for Metered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.tar.read(into)?;
        let left = self.left.get().checked_sub(read as u64);
        let too_long =
            || io::Error::other(format!("it has a name or attributes of more than {HEAD_MAX} bytes"));
        self.left.set(left.ok_or_else(too_long)?);
        Ok(read)
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            // Keeps what was read ahead, where that holds the place.
            SeekFrom::Current(offset) => {
                self.tar.seek_relative(offset)?;
                self.tar.stream_position()
            }
            to => self.tar.seek(to),
        }
    }
}

/// How a file is compressed, as far as its beginning tells.
fn compression(file: &File) -> io::Result<Option<&'static str>> {
    const KNOWN: [(&[u8], &str); 4] =
        [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2")];
    let mut beginning = [0; 6];
    let length = file.read_at(&mut beginning, 0)?;
    let known = KNOWN.iter().find(|(magic, _)| beginning[..length].starts_with(magic));
    Ok(known.map(|(_, name)| *name))
}

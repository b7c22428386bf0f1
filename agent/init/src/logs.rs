//! The logs of a task: what it writes to stdout and stderr comes through a pipe each, and goes to a file each of its
//! sandbox.
//!
//! The task does not write the files itself, so that they can be put aside when they are full, and so that a full disk or
//! a flood costs it its log and nothing else: whatever cannot be written is thrown away and counted, and the count is
//! told in the log as soon as there is room. A task that writes faster than the disk does waits, as any program does.
//!
//! The sandbox belongs to the task's user, who may put anything in the place of these files: links are never followed,
//! and only a plain file is written to.
//!
//! Their pages in the kernel's memory are charged to our own control group, which has no limit: they are no more than
//! the files may hold, and the kernel takes them back when memory is scarce.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bourse_init::plan::{self, LogLimits, Owner};
use bourse_init::record::Failure;
use bourse_init::step::Step;

use crate::failure::At;
use crate::sys;

/// So much is moved at once, in bytes: what a pipe holds. Only as much of it is in memory as was ever needed.
const PIECE: usize = 64 << 10;

/// The most that a pipe can hold, in bytes, unless the machine was told otherwise (`/proc/sys/fs/pipe-max-size`).
const PIPE_MAX: usize = 1 << 20;

/// What a rate is told by.
const WINDOW: Duration = Duration::from_secs(1);

/// Both logs of a task.
pub struct Logs {
    streams: [Stream; 2],
    piece: Vec<u8>,
}

impl Logs {
    /// Opens the files, and the ends of the pipes that the task is to write to. All of it belongs to the task's user.
    pub fn open(plan: &plan::Logs, owner: Option<Owner>) -> Result<(Logs, [File; 2]), Failure> {
        let directory =
            File::open(&plan.directory).at(Step::Output, || plan.directory.display().to_string())?;
        let directory = Rc::new(directory);
        let (mut pipes, mut streams) = (Vec::new(), Vec::new());
        for name in ["stdout", "stderr"] {
            let (pipe, theirs) = pipe(owner).at(Step::Output, || format!("a pipe for {name}"))?;
            let place = Place { directory: directory.clone(), name, owner };
            let stream = Stream::open(pipe, place, plan.limits)
                .at(Step::Output, || plan.directory.join(name).display().to_string())?;
            pipes.push(theirs);
            streams.push(stream);
        }
        let both = "two were opened";
        let streams = streams.try_into().unwrap_or_else(|_| panic!("{both}"));
        let pipes = pipes.try_into().unwrap_or_else(|_| panic!("{both}"));
        Ok((Logs { streams, piece: vec![0; PIECE] }, pipes))
    }

    /// To wait for something to come; absent when nobody is left to write to it.
    pub fn pipes(&self) -> [Option<BorrowedFd<'_>>; 2] {
        self.streams.each_ref().map(|stream| stream.pipe.as_ref().map(AsFd::as_fd))
    }

    /// Moves one piece of each that is readable.
    pub fn move_on(&mut self, readable: [bool; 2]) {
        for (stream, _) in self.streams.iter_mut().zip(readable).filter(|&(_, readable)| readable) {
            stream.move_piece(&mut self.piece);
        }
    }

    /// Moves what is in the pipes now, and tells what was lost. Processes that write on without end are not waited for.
    pub fn finish(&mut self) {
        for stream in &mut self.streams {
            let mut moved = 0;
            while moved < PIPE_MAX {
                match stream.move_piece(&mut self.piece) {
                    0 => break,
                    more => moved += more,
                }
            }
            stream.sink.tell_loss();
        }
    }
}

/// Its end for the task can be opened again by the task's user, as `/dev/stdout`.
fn pipe(owner: Option<Owner>) -> io::Result<(PipeReader, File)> {
    let (ours, theirs) = io::pipe()?;
    // Others may empty it between a look and a read, and whoever waits for them hears no order.
    sys::never_wait(ours.as_fd())?;
    let theirs = File::from(OwnedFd::from(theirs));
    if let Some(owner) = owner {
        fchown(&theirs, Some(owner.uid), Some(owner.gid))?;
    }
    Ok((ours, theirs))
}

/// One of the two.
struct Stream {
    /// `None`: every end for writing is closed, for good.
    pipe: Option<PipeReader>,
    rate: Rate,
    sink: Sink,
}

impl Stream {
    fn open(pipe: PipeReader, place: Place, limits: LogLimits) -> io::Result<Stream> {
        Ok(Stream {
            pipe: Some(pipe),
            rate: Rate {
                bytes: limits.bytes_per_second,
                since: Instant::now(),
                left: limits.bytes_per_second,
            },
            sink: Sink::open(place, limits)?,
        })
    }

    /// Moves what one read gives, and tells how much that was: 0 when there is nothing now.
    fn move_piece(&mut self, piece: &mut [u8]) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        let read = match pipe.read(piece) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return 0,
            Err(_) | Ok(0) => {
                self.pipe = None;
                return 0;
            }
            Ok(read) => read,
        };
        let (kept, beyond) = self.rate.split(&piece[..read], Instant::now());
        self.sink.take(kept);
        self.sink.lost.to_the_rate += beyond.len() as u64;
        read
    }
}

/// How much may be logged yet in this second.
struct Rate {
    /// 0: without end.
    bytes: u64,
    since: Instant,
    left: u64,
}

impl Rate {
    /// What may be logged, which ends with a line where it can, and what is too much.
    fn split<'a>(&mut self, piece: &'a [u8], now: Instant) -> (&'a [u8], &'a [u8]) {
        if self.bytes == 0 {
            return (piece, &[]);
        }
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.left) = (now, self.bytes);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        if piece.len() <= most {
            self.left -= piece.len() as u64;
            return (piece, &[]);
        }
        // Until the next second, so that what is kept is whole lines and the loss is told once.
        self.left = 0;
        piece.split_at(end_of_lines(&piece[..most]).unwrap_or(most))
    }
}

/// Where the last line in it ends.
fn end_of_lines(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1)
}

/// Bytes that were thrown away since that was last told.
#[derive(Default)]
struct Lost {
    to_the_disk: u64,
    to_the_rate: u64,
}

/// The file that is written, and those that were put aside.
struct Sink {
    place: Place,
    limits: LogLimits,
    file: File,
    /// Bytes in it.
    size: u64,
    /// The offset of its first byte in the whole log.
    start: u64,
    /// The same of those that were put aside.
    aside: VecDeque<u64>,
    at_line_end: bool,
    lost: Lost,
}

impl Sink {
    fn open(place: Place, limits: LogLimits) -> io::Result<Sink> {
        let file = place.open(&place.path(), false)?;
        let size = file.metadata()?.len();
        Ok(Sink {
            place,
            limits,
            file,
            size,
            start: 0,
            aside: VecDeque::new(),
            at_line_end: true,
            lost: Lost::default(),
        })
    }

    /// Writes it, or counts it as lost.
    fn take(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.tell_loss();
        // Beside what was lost before and could not be told, it would seem to follow on what it does not.
        let written = if self.has_loss() { 0 } else { self.append(bytes) };
        self.lost.to_the_disk += (bytes.len() - written) as u64;
    }

    fn has_loss(&self) -> bool {
        self.lost.to_the_disk > 0 || self.lost.to_the_rate > 0
    }

    /// Says in the log what is missing there, if that can be written.
    fn tell_loss(&mut self) {
        if !self.has_loss() {
            return;
        }
        let mut text = String::from(if self.at_line_end { "" } else { "\n" });
        let Lost { to_the_disk, to_the_rate } = self.lost;
        if to_the_rate > 0 {
            let rate = self.limits.bytes_per_second;
            text += &format!("[bourse: {to_the_rate} bytes lost: over the rate of {rate} bytes a second]\n");
        }
        if to_the_disk > 0 {
            text += &format!("[bourse: {to_the_disk} bytes lost: they could not be written to the disk]\n");
        }
        if self.append(text.as_bytes()) == text.len() {
            self.lost = Lost::default();
        }
    }

    /// Writes as much as can be written, over as many files as it takes.
    fn append(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let room = usize::try_from(self.room()).unwrap_or(usize::MAX);
            let cut = if rest.len() <= room { rest.len() } else { self.cut(&rest[..room]) };
            let put = self.write(&rest[..cut]);
            written += put;
            if put < cut || (written < bytes.len() && self.put_aside().is_err()) {
                break;
            }
        }
        written
    }

    fn room(&self) -> u64 {
        match self.limits.file_bytes {
            0 => u64::MAX,
            most => most.saturating_sub(self.size),
        }
    }

    /// How much of what has room still goes into this file: up to the end of a line, unless one takes a whole file.
    fn cut(&self, fits: &[u8]) -> usize {
        match end_of_lines(fits) {
            Some(end) => end,
            None if self.at_line_end && self.size > 0 => 0,
            None => fits.len(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut put = 0;
        while put < bytes.len() {
            match self.file.write(&bytes[put..]) {
                Ok(0) => break,
                Ok(more) => put += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        if let Some(last) = put.checked_sub(1) {
            self.at_line_end = bytes[last] == b'\n';
        }
        self.size += put as u64;
        put
    }

    /// Begins the next file. If it cannot, the present one stays, full as it is.
    fn put_aside(&mut self) -> io::Result<()> {
        let (path, aside) = (self.place.path(), self.place.aside(self.start));
        match fs::rename(&path, &aside) {
            // The task has removed it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            moved => moved?,
        }
        self.file = self.place.open(&path, true).inspect_err(|_| drop(fs::rename(&aside, &path)))?;
        self.aside.push_back(self.start);
        self.start += self.size;
        self.size = 0;
        while self.aside.len() > self.limits.files.max(1) as usize
            && let Some(oldest) = self.aside.pop_front()
        {
            let _ = fs::remove_file(self.place.aside(oldest));
        }
        Ok(())
    }
}

/// Where a log is.
struct Place {
    /// From before the view of the file system changes.
    directory: Rc<File>,
    name: &'static str,
    owner: Option<Owner>,
}

impl Place {
    fn path(&self) -> PathBuf {
        self.beside(self.name)
    }

    fn aside(&self, start: u64) -> PathBuf {
        self.beside(format!("{}.{start}", self.name))
    }

    /// By way of the open directory, wherever that is now. In a container `/proc` is the task's, and it cannot change it.
    fn beside(&self, name: impl AsRef<Path>) -> PathBuf {
        Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string()).join(name)
    }

    fn open(&self, path: &Path, new: bool) -> io::Result<File> {
        let file = File::options()
            .append(true)
            .create(true)
            .create_new(new)
            .mode(0o644)
            .custom_flags(sys::O_NOFOLLOW | sys::O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(ErrorKind::InvalidInput.into());
        }
        if let Some(owner) = self.owner {
            fchown(&file, Some(owner.uid), Some(owner.gid))?;
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for a test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("bourse-init-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("the folder for temporary files is writable");
            Folder(path)
        }

        fn sink(&self, file_bytes: u64, files: u32) -> Sink {
            let directory = Rc::new(File::open(&self.0).expect("it is there"));
            let place = Place { directory, name: "stdout", owner: None };
            Sink::open(place, LogLimits { file_bytes, files, ..LogLimits::NONE }).expect("it is writable")
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).expect("it is there");
            let mut names: Vec<String> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_full_file_is_put_aside_at_the_end_of_a_line_and_the_oldest_goes() {
        let folder = Folder::new("aside");
        let mut sink = folder.sink(10, 2);
        sink.take(b"one\ntwo\nthree\n");
        assert_eq!((folder.read("stdout.0"), folder.read("stdout")), ("one\ntwo\n".into(), "three\n".into()));
        sink.take(b"four\n");
        assert_eq!(folder.read("stdout.8"), "three\n");
        sink.take(b"five\n");
        assert_eq!(folder.read("stdout"), "four\nfive\n");
        sink.take(b"six");
        assert_eq!(folder.names(), ["stdout", "stdout.14", "stdout.8"]);
        assert_eq!((folder.read("stdout.14"), folder.read("stdout")), ("four\nfive\n".into(), "six".into()));
    }

    #[test]
    fn a_line_that_takes_more_than_a_file_is_cut_where_the_file_ends() {
        let folder = Folder::new("long");
        let mut sink = folder.sink(4, 9);
        sink.take(b"0123456789\nab");
        assert_eq!(folder.names(), ["stdout", "stdout.0", "stdout.4", "stdout.8"]);
        assert_eq!((folder.read("stdout.8"), folder.read("stdout")), ("89\n".into(), "ab".into()));
    }

    #[test]
    fn what_the_task_puts_in_the_place_of_a_log_costs_it_the_log_and_is_not_written_to() {
        let folder = Folder::new("links");
        let at = |name: &str| folder.0.join(name);
        fs::write(at("secret"), "secret").expect("it is writable");
        std::os::unix::fs::symlink(at("secret"), at("stdout")).expect("linked");
        let place = Place {
            directory: File::open(&folder.0).expect("it is there").into(),
            name: "stdout",
            owner: None,
        };
        assert!(Sink::open(place, LogLimits::NONE).is_err());
        fs::remove_file(at("stdout")).expect("it is there");

        let mut sink = folder.sink(4, 1);
        sink.take(b"one\n");
        fs::remove_file(at("stdout")).expect("it is there");
        std::os::unix::fs::symlink(at("secret"), at("stdout")).expect("linked");
        // The link is put aside as it is.
        sink.take(b"two\n");
        assert_eq!((folder.read("secret"), folder.read("stdout")), ("secret".into(), "two\n".into()));
        // Into a folder that is in the way nothing can be put.
        fs::create_dir(at("stdout.4")).expect("made");
        sink.take(b"three\n");
        fs::remove_dir(at("stdout.4")).expect("it is empty");
        sink.take(b"four\n");
        assert_eq!(folder.read("secret"), "secret");
        assert!(sink.lost.to_the_disk == 0, "told by now");
        assert_eq!(sink.file.metadata().expect("it is open").len(), 1, "in pieces of 4: what is left of it");
    }

    #[test]
    fn a_log_that_was_removed_begins_anew_when_it_is_full() {
        let folder = Folder::new("removed");
        let mut sink = folder.sink(4, 1);
        sink.take(b"one\n");
        fs::remove_file(folder.0.join("stdout")).expect("it is there");
        sink.take(b"two\n");
        assert_eq!((folder.names(), folder.read("stdout")), (vec!["stdout".into()], "two\n".into()));
    }

    #[test]
    fn what_is_over_the_rate_is_thrown_away_from_the_end_of_a_line_on_until_the_next_second() {
        let begun = Instant::now();
        let mut rate = Rate { bytes: 10, since: begun, left: 10 };
        let mut split = |piece: &'static str, after: Duration| {
            let (kept, beyond) = rate.split(piece.as_bytes(), begun + after);
            (String::from_utf8_lossy(kept).into_owned(), beyond.len())
        };
        let at = Duration::from_millis;
        assert_eq!(split("1234\n", at(0)), ("1234\n".into(), 0));
        assert_eq!(split("12\n4567\n", at(1)), ("12\n".into(), 5));
        assert_eq!(split("1", at(999)), (String::new(), 1));
        assert_eq!(split("0123456789abc", at(1000)), ("0123456789".into(), 3));
        assert_eq!(split("a\n", at(2500)), ("a\n".into(), 0));
    }

    #[test]
    fn what_was_lost_is_told_in_the_log_once() {
        let folder = Folder::new("lost");
        let mut sink = folder.sink(0, 1);
        sink.limits.bytes_per_second = 9;
        sink.take(b"half a line");
        sink.lost = Lost { to_the_disk: 0, to_the_rate: 7 };
        sink.take(b"next\n");
        sink.take(b"last\n");
        let told = "[bourse: 7 bytes lost: over the rate of 9 bytes a second]";
        assert_eq!(folder.read("stdout"), format!("half a line\n{told}\nnext\nlast\n"));
    }
}

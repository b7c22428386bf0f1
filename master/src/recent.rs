//! The last inputs of the master, written down when one of them makes it panic.

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bourse_master_core::event::Event;
use bourse_types::Now;

use crate::disk;

/// How many are kept: a few seconds of a busy master.
const RECENT_MAX: usize = 512;

/// How many bytes are kept, and the newest input however large it is: one call alone may have 16 MiB.
const BYTES_MAX: usize = 32 << 20;

/// The newest inputs, with the time that each was applied at, as they would be written.
#[derive(Debug)]
pub(crate) struct Recent {
    inputs: VecDeque<Vec<u8>>,
    bytes: usize,
    newest: Now,
    directory: PathBuf,
}

impl Recent {
    /// A panic's inputs go to a file in this directory.
    pub(crate) fn new(directory: &Path) -> Recent {
        Recent {
            inputs: VecDeque::with_capacity(RECENT_MAX),
            bytes: 0,
            newest: Now::default(),
            directory: directory.to_owned(),
        }
    }

    pub(crate) fn note(&mut self, now: Now, event: &Event) {
        let record = disk::event::encode(now, event);
        self.newest = now;
        self.bytes += record.len();
        self.inputs.push_back(record);
        while self.inputs.len() > RECENT_MAX || (self.bytes > BYTES_MAX && self.inputs.len() > 1) {
            self.bytes -= self.inputs.pop_front().map_or(0, |oldest| oldest.len());
        }
    }

    /// Writes all of them, oldest first, each as its length (four bytes, the highest first) and an `InputRecord`.
    /// Tells where.
    pub(crate) fn dump(&self) -> std::io::Result<PathBuf> {
        let at = self.newest.wall.as_millis();
        let path = self.directory.join(format!("panic-{at}.inputs"));
        let mut file = std::io::BufWriter::new(fs::File::create(&path)?);
        for record in &self.inputs {
            let length = u32::try_from(record.len()).map_err(std::io::Error::other)?;
            file.write_all(&length.to_be_bytes())?;
            file.write_all(record)?;
        }
        file.flush()?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_inputs_can_be_read_back_in_their_order() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut recent = Recent::new(dir.path());
        let now = Now::default();
        let heard = |n: usize| {
            let agent = bourse_types::AgentId::new(format!("a{n}")).expect("an id");
            Event::AgentsHeard { agents: vec![agent] }
        };
        (0..RECENT_MAX + 3).for_each(|n| recent.note(now, &heard(n)));
        let bytes = fs::read(recent.dump().expect("written")).expect("read");
        let (mut rest, mut events) = (&bytes[..], Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (record, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            events.push(disk::event::decode(record).expect("written by us").1);
            rest = after;
        }
        assert_eq!(events, (3..RECENT_MAX + 3).map(heard).collect::<Vec<_>>());
    }

    #[test]
    fn large_inputs_push_the_older_ones_out_but_never_themselves() {
        let mut recent = Recent::new(Path::new("nowhere"));
        let agents = |count: usize| {
            let agent = bourse_types::AgentId::new("a".repeat(200)).expect("an id");
            Event::AgentsHeard { agents: vec![agent; count] }
        };
        (0..20).for_each(|_| recent.note(Now::default(), &agents(20_000)));
        assert!(recent.bytes <= BYTES_MAX && recent.inputs.len() < 20, "{} bytes", recent.bytes);
        recent.note(Now::default(), &agents(BYTES_MAX / 200));
        assert_eq!(recent.inputs.len(), 1);
        assert_eq!(recent.bytes, recent.inputs[0].len());
    }
}

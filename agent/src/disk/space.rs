//! How much of a file system there is and how much of that is free, in bytes and in inodes.
//!
//! Whoever makes files without a byte in them takes no block, and yet nobody can make a file once all inodes are taken. So
//! whatever looks at what is free looks at both, and goes by the scarcer.

use std::fmt;
use std::io;
use std::path::Path;

use bourse_agent_core::Shortage;
use nix::sys::statfs::{EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};

/// File systems that have as many inodes as when they were made, or mounted: how many bytes there are for each is a figure
/// that does not change. The number of ext4 is that of ext2 and ext3 too.
const WITH_A_TABLE: [FsType; 2] = [EXT4_SUPER_MAGIC, TMPFS_MAGIC];

/// What an inode counts for on a file system that makes it when it is needed: that has no number of them, as btrfs, or one that
/// follows from what is free just now, as XFS and ZFS, by which a task would be over its limit as others fill the disk. It is
/// what a file of a byte takes, and about the most that an inode with its name and its copy does on btrfs.
const INODE_BYTES: u64 = 4096;

/// How much there is, never nothing, and how much of it is free for anybody but root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    total: u64,
    free: u64,
}

impl Amount {
    /// `None`: nothing of it is counted.
    pub fn new(total: u64, free: u64) -> Option<Amount> {
        // CephFS says that more are free than there are.
        (total > 0).then(|| Amount { total, free: free.min(total) })
    }

    pub fn free(self) -> u64 {
        self.free
    }

    /// The part that is not free, 0 to 1.
    fn used(self) -> f64 {
        1.0 - self.free as f64 / self.total as f64
    }
}

/// A file system, as it is just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// `None` where the file system does not say.
    pub bytes: Option<Amount>,
    /// `None` where there is no number of them.
    pub inodes: Option<Amount>,
    /// Whether that number is one for good.
    pub has_table: bool,
    /// Whether it says to be read-only. One that has become so after an error need not.
    pub is_read_only: bool,
}

impl Space {
    /// Of the file system that a file or folder is on. Blocks the thread.
    pub fn of(path: &Path) -> io::Result<Space> {
        let (stat, kind) = (statvfs(path)?, statfs(path)?.filesystem_type());
        let unit = stat.fragment_size();
        let bytes =
            Amount::new(stat.blocks().saturating_mul(unit), stat.blocks_available().saturating_mul(unit));
        Ok(Space {
            bytes,
            inodes: Amount::new(stat.files(), stat.files_available()),
            has_table: WITH_A_TABLE.contains(&kind),
            is_read_only: stat.flags().contains(FsFlags::ST_RDONLY),
        })
    }

    /// How many bytes there are for each inode, at least one: so many bytes of the disk come with one inode.
    pub fn bytes_per_inode(&self) -> u64 {
        match (self.bytes, self.inodes) {
            (Some(bytes), Some(inodes)) if self.has_table => (bytes.total / inodes.total).max(1),
            _ => INODE_BYTES,
        }
    }

    /// The part that is not free of what is scarcer, 0 to 1.
    pub fn used(&self) -> f64 {
        let used = [self.bytes, self.inodes].into_iter().flatten().map(Amount::used);
        used.fold(0.0, f64::max)
    }

    /// What it lacks for somebody who needs so many bytes and inodes.
    pub fn lacks(&self, bytes: u64, inodes: u64) -> Option<Shortage> {
        let short = |amount: Option<Amount>, needed| amount.map(Amount::free).filter(|free| *free < needed);
        if self.is_read_only {
            return Some(Shortage::ReadOnly);
        }
        let of_bytes = short(self.bytes, bytes).map(|free| Shortage::Bytes { free, needed: bytes });
        of_bytes.or_else(|| short(self.inodes, inodes).map(|free| Shortage::Inodes { free, needed: inodes }))
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            Some(Amount { total, free }) => write!(f, "{} of {} MiB", free >> 20, total >> 20)?,
            None => f.write_str("an unknown number of bytes")?,
        }
        if let Some(Amount { total, free }) = self.inodes {
            write!(f, " and {free} of {total} inodes")?;
        }
        f.write_str(" free")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A file system of 100 GiB with this much free, and so many inodes.
    fn space(free_gib: u64, inodes: u64, free_inodes: u64) -> Space {
        Space {
            bytes: Amount::new(100 * GIB, free_gib * GIB),
            inodes: Amount::new(inodes, free_inodes),
            has_table: true,
            is_read_only: false,
        }
    }

    #[test]
    fn a_table_of_inodes_has_one_for_so_many_bytes_whatever_is_free_and_others_count_4_kib_for_one() {
        // As mkfs.ext4 makes it.
        let inodes = 100 * GIB / (16 << 10);
        assert_eq!(space(100, inodes, inodes).bytes_per_inode(), 16 << 10);
        assert_eq!(space(1, inodes, 3).bytes_per_inode(), 16 << 10);
        assert_eq!(space(100, 1000, 1000).bytes_per_inode(), 100 * GIB / 1000);
        assert_eq!(space(100, u64::MAX, u64::MAX).bytes_per_inode(), 1, "they are no bound then");

        // XFS that is nearly empty, and the same when it is nearly full.
        let dynamic = |inodes| Space { has_table: false, ..space(1, inodes, 1000) };
        assert_eq!(dynamic(100 * GIB / 2048).bytes_per_inode(), 4096);
        assert_eq!(dynamic(1_000_000).bytes_per_inode(), 4096);
        assert_eq!(dynamic(0).bytes_per_inode(), 4096, "as btrfs");
        let silent = Space { bytes: None, ..space(1, 1000, 1000) };
        assert_eq!(silent.bytes_per_inode(), 4096);
    }

    #[test]
    fn what_is_scarcer_says_how_full_a_file_system_is() {
        assert_eq!(space(75, 1000, 500).used(), 0.5);
        assert_eq!(space(25, 1000, 500).used(), 0.75);
        assert_eq!(space(25, 0, 0).used(), 0.75, "without a number of inodes the bytes say it");
        assert_eq!(space(100, 1000, 0).used(), 1.0);
        assert_eq!(space(100, 1000, u64::MAX).used(), 0.0, "more are free than there are");
        let silent = Space { bytes: None, inodes: None, ..space(1, 1, 1) };
        assert_eq!((silent.used(), silent.lacks(1, 1)), (0.0, None));
    }

    #[test]
    fn what_is_short_is_told_with_its_figures() {
        assert_eq!(space(1, 1000, 64).lacks(1 << 20, 64), None);
        let short = space(1, 1000, 63).lacks(1 << 20, 64);
        assert_eq!(short, Some(Shortage::Inodes { free: 63, needed: 64 }));
        let short = space(0, 1000, 63).lacks(1 << 20, 64);
        assert_eq!(short, Some(Shortage::Bytes { free: 0, needed: 1 << 20 }));
        let broken = Space { is_read_only: true, ..space(50, 1000, 500) };
        assert_eq!(broken.lacks(0, 0), Some(Shortage::ReadOnly));
        assert_eq!(space(50, 1000, 3).to_string(), "51200 of 102400 MiB and 3 of 1000 inodes free");
        assert_eq!(space(50, 0, 0).to_string(), "51200 of 102400 MiB free");
    }

    #[test]
    fn a_file_system_is_asked_for_what_it_has_and_a_path_that_is_not_there_for_nothing() {
        let folder = tempfile::tempdir_in("/dev/shm").expect("it is writable");
        let space = Space::of(folder.path()).expect("it is there");
        assert!(space.has_table && !space.is_read_only, "{space:?}");
        assert!(space.bytes.is_some() && space.bytes_per_inode() > 0, "{space:?}");
        assert!(Space::of(&folder.path().join("missing")).is_err());
    }
}

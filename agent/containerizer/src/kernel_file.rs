//! Files that the kernel writes when they are read: of processes and of control groups.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What most of them fit into, in bytes.
const ROOM: usize = 4096;

/// Reads one as a whole.
///
/// The standard library asks a file for its size first, and where it has none, as here, begins with pieces of 32 bytes.
/// Thousands of these files are read again and again, and each piece is a call of its own.
pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = String::with_capacity(ROOM);
    // What is taken of a file is read without asking for its size.
    File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_file_is_read_to_its_end_however_long_it_is() {
        let root = TempDir::new().expect("a temporary directory");
        let path = root.path().join("file");
        for length in [0, 1, ROOM - 1, ROOM, ROOM + 1, 10 * ROOM] {
            let text = "x".repeat(length);
            fs::write(&path, &text).expect("it is writable");
            assert_eq!(read(&path).expect("it is readable"), text, "{length}");
        }
        fs::remove_file(&path).expect("it is there");
        assert_eq!(read(&path).expect_err("it is gone").kind(), io::ErrorKind::NotFound);
        let stat = read("/proc/self/stat").expect("/proc is mounted");
        assert!(stat.starts_with(&format!("{} ", std::process::id())), "{stat}");
    }
}

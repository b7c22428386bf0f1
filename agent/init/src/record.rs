//! The exit record: how a container ended, in one line that outlives everyone.
//!
//! It is written with a single small write through a descriptor that was opened before anything was set up,
//! and it is whole if and only if it ends with a newline. So a reader needs no lock, and a machine that
//! stopped in between is told from a container that ended. One line is also what a person with `cat` wants:
//!
//! ```text
//! 1 exited 3 1700000000123
//! 1 signaled 9 1700000000123
//! 1 failed exec 2 /usr/bin/nginy
//! ```
//!
//! The first word is the version of the form. Times are milliseconds since the Unix epoch.

use crate::step::Step;

/// The form's version; a reader refuses any other.
const VERSION: &str = "1";

/// The longest detail of a failure that is kept, in bytes: the whole line has to fit one atomic pipe write.
const DETAIL_MAX: usize = 2000;

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The task's main process returned this code (0 to 255).
    Exited {
        /// The exit code.
        code: i32,
        /// When, in milliseconds since the Unix epoch.
        wall_ms: u64,
    },
    /// A signal with this number ended the task's main process.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// When, in milliseconds since the Unix epoch.
        wall_ms: u64,
    },
    /// The set-up failed; nothing of the task has run.
    Failed(Failure),
}

/// Why a set-up failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// The kernel's error number, 0 when the kernel was not the one who refused.
    pub errno: i32,
    /// On what: a path, a name. Control characters are replaced by `?` on the way through the record.
    pub detail: String,
}

impl Record {
    /// The line, newline included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Record::Exited { code, wall_ms } => format!("{VERSION} exited {code} {wall_ms}\n"),
            Record::Signaled { signal, wall_ms } => format!("{VERSION} signaled {signal} {wall_ms}\n"),
            Record::Failed(Failure { step, errno, detail }) => {
                format!("{VERSION} failed {step} {errno} {}\n", in_one_line(detail))
            }
        }
        .into_bytes()
    }

    /// Reads a line back; `None` when it is empty, cut off, or not of this version.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        let line = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut words = line.splitn(5, ' ');
        if words.next()? != VERSION {
            return None;
        }
        match (words.next()?, words.next()?, words.next()?, words.next()) {
            ("exited", code, wall_ms, None) => {
                Some(Record::Exited { code: code.parse().ok()?, wall_ms: wall_ms.parse().ok()? })
            }
            ("signaled", signal, wall_ms, None) => {
                Some(Record::Signaled { signal: signal.parse().ok()?, wall_ms: wall_ms.parse().ok()? })
            }
            ("failed", step, errno, Some(detail)) => Some(Record::Failed(Failure {
                step: Step::from_word(step)?,
                errno: errno.parse().ok()?,
                // Without isolation the task's user is the agent's, and may have written it.
                detail: in_one_line(detail),
            })),
            _ => None,
        }
    }
}

/// As much of a detail as a record holds.
fn in_one_line(detail: &str) -> String {
    let mut detail: String = detail.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    while detail.len() > DETAIL_MAX {
        detail.pop();
    }
    detail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record> {
        let failure = |detail: &str| Failure { step: Step::Exec, errno: 2, detail: detail.into() };
        vec![
            Record::Exited { code: 0, wall_ms: 1_700_000_000_123 },
            Record::Signaled { signal: 9, wall_ms: 0 },
            Record::Failed(failure("/bin/no such")),
            Record::Failed(failure("")),
        ]
    }

    #[test]
    fn what_was_written_is_read_back() {
        for record in samples() {
            assert_eq!(Record::decode(&record.encode()), Some(record));
        }
    }

    #[test]
    fn a_record_that_was_cut_off_anywhere_is_no_record() {
        for record in samples() {
            let line = record.encode();
            for end in 0..line.len() {
                assert_eq!(Record::decode(&line[..end]), None, "{:?}", String::from_utf8_lossy(&line[..end]));
            }
        }
    }

    /// What is on disks: each of these lines may have been written by the release before.
    #[test]
    fn the_lines_that_are_on_disks_are_read() {
        let exec = Failure { step: Step::Exec, errno: 2, detail: "/usr/bin/nginy".into() };
        for (line, record) in [
            ("1 exited 3 1700000000123\n", Record::Exited { code: 3, wall_ms: 1_700_000_000_123 }),
            ("1 signaled 9 1700000000123\n", Record::Signaled { signal: 9, wall_ms: 1_700_000_000_123 }),
            ("1 failed exec 2 /usr/bin/nginy\n", Record::Failed(exec)),
        ] {
            assert_eq!(Record::decode(line.as_bytes()), Some(record));
        }
    }

    #[test]
    fn another_version_is_refused() {
        assert_eq!(Record::decode(b"2 exited 0 0\n"), None);
    }

    #[test]
    fn a_detail_cannot_break_out_of_its_line_nor_grow_without_bound() {
        let detail = "a\nb".repeat(2000);
        let line = Record::Failed(Failure { step: Step::Cwd, errno: 0, detail }).encode();
        assert_eq!(line.iter().filter(|&&b| b == b'\n').count(), 1);
        assert!(line.len() < 4096);
        assert!(Record::decode(&line).is_some());
        let forged = format!("1 failed exec 2 \u{1b}[2J{}\n", "x".repeat(5000));
        let Some(Record::Failed(Failure { detail, .. })) = Record::decode(forged.as_bytes()) else {
            panic!("it is a record");
        };
        assert!(detail.starts_with("?[2J") && detail.len() == DETAIL_MAX, "{detail}");
    }
}

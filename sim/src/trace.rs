//! What happened, line by line: hashed always, kept for the last moments before a failure, printed on demand.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};

use bourse_types::Mono;

/// How many lines before a failure are shown.
const KEPT: usize = 400;

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hash: DefaultHasher,
    lines: u64,
    print: bool,
    last: VecDeque<String>,
}

impl Trace {
    /// A trace without lines; `print` says each of them aloud.
    pub fn new(print: bool) -> Trace {
        Trace { hash: DefaultHasher::new(), lines: 0, print, last: VecDeque::with_capacity(KEPT) }
    }

    /// One thing that happened, to or by whom.
    pub fn line(&mut self, at: Mono, who: &dyn fmt::Display, what: fmt::Arguments<'_>) {
        let mut line =
            if self.last.len() == KEPT { self.last.pop_front().unwrap_or_default() } else { String::new() };
        line.clear();
        write!(line, "{:>12.6} {who} {what}", at.as_nanos() as f64 / 1e9)
            .expect("a string takes all that is written");
        self.hash.write(line.as_bytes());
        self.lines += 1;
        if self.print {
            println!("{line}");
        }
        self.last.push_back(line);
    }

    /// A number that stands for all lines so far.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// How many lines there were.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last lines.
    pub fn tail(self) -> Vec<String> {
        self.last.into()
    }
}

//! Tables on a terminal: no frames, one header line, columns that stay where they are.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Effects, Style};
use anyhow::Context;
use bourse_words::{self as words, Tone};
use comfy_table::{ContentArrangement, Row, presets};

use crate::print::{lines, say};

/// A word in its tone: always with a symbol, as colour alone tells some people nothing.
pub fn toned(tone: Tone, word: &str) -> String {
    let (symbol, style) = match tone {
        Tone::Good => ("● ", AnsiColor::Green.on_default()),
        Tone::Busy => ("◐ ", AnsiColor::Yellow.on_default()),
        Tone::Bad => ("✗ ", AnsiColor::Red.on_default()),
        Tone::Faint => ("○ ", Style::new() | Effects::DIMMED),
        Tone::Plain => ("", Style::new()),
    };
    format!("{style}{symbol}{word}{style:#}")
}

/// A state as a cell: symbol, word, colour.
pub fn cell(state: &str) -> String {
    toned(Tone::of(state), &words::state(state))
}

/// Rows under a header.
pub struct Table {
    inner: comfy_table::Table,
    /// Said instead of a header without rows.
    empty: String,
}

impl Table {
    pub fn new(columns: &[&str], empty: &str) -> Table {
        let mut inner = comfy_table::Table::new();
        inner.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        inner.set_header(columns.iter().map(|name| name.to_ascii_uppercase()));
        Table { inner, empty: empty.into() }
    }

    pub fn row<T: Display>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.inner.add_row(Row::from(cells.into_iter().map(|cell| cell.to_string()).collect::<Vec<_>>()));
    }

    /// Prints to standard output; colours only where it is a terminal and nobody asked for none. An empty table says so
    /// on standard error, so that a pipe gets nothing.
    pub fn print(self) -> anyhow::Result<()> {
        if self.inner.row_count() == 0 {
            say(self.empty);
            return Ok(());
        }
        // Each cell has a space on both sides; the first one would indent everything.
        lines(self.inner.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()))
    }

    /// Draws over what was drawn before, when standard output is a terminal.
    pub fn redraw(self) -> anyhow::Result<()> {
        if io::stdout().is_terminal() {
            let mut out = io::stdout();
            // What is said of an empty table goes to standard error, and must not be wiped out.
            write!(out, "\x1b[H\x1b[2J").and_then(|()| out.flush()).context("writing to standard output")?;
        }
        self.print()
    }
}

//! `bourse replay`: what a master was told, told once more.

use std::io::{BufRead as _, IsTerminal as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bourse_master::recording::{Outcome, Recording, Step, Verdict};
use bourse_master_core::text::Line;
use bourse_types::{Epoch, Mono, Wall};

use crate::exit::{Exit, failed};
use crate::print::{out, say};

/// Go once more through what a master recorded, and see whether it comes to the same
///
/// Examples:
///   bourse replay /var/lib/bourse/master             every input with what came of it
///   bourse replay crash-1764300000-1764310000000     what led to a panic
///   bourse replay DIR --until +90s --step            one by one, for the first 90 s
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A recording, what a panic left, or the work directory of a master
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The start of a master, by its epoch [default: the newest that is there]
    #[arg(long)]
    epoch: Option<u64>,
    /// Not what came after this: a time such as 2026-01-31T12:00:00Z, or +90s from the first input
    #[arg(long, value_name = "TIME", value_parser = until)]
    until: Option<Until>,
    /// Wait after each input, at a terminal: Enter goes on, `s` tells what there is, `q` ends
    #[arg(long)]
    step: bool,
    /// Only tell what it comes to
    #[arg(short, long, conflicts_with = "step")]
    quiet: bool,
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    At(Wall),
    After(Duration),
}

fn until(text: &str) -> Result<Until, String> {
    let wrong = |why: String| {
        format!(
            "{text:?} is no time ({why}); write one such as 2026-01-31T12:00:00Z, or +90s from the first input"
        )
    };
    if let Some(later) = text.strip_prefix('+') {
        return humantime::parse_duration(later).map(Until::After).map_err(|error| wrong(error.to_string()));
    }
    let at = humantime::parse_rfc3339_weak(text).map_err(|error| wrong(error.to_string()))?;
    let since = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|error| wrong(error.to_string()))?;
    Ok(Until::At(Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))))
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if args.step && !std::io::stdin().is_terminal() {
        return Err(failed(
            Exit::Usage,
            "--step asks after each input, and there is nobody at a terminal to answer",
        ));
    }
    let recording = Recording::open(&args.folder)?;
    let epoch = args.epoch.map(Epoch).or_else(|| recording.epochs().last());
    let epoch = epoch.expect("a recording has at least one epoch");
    let mut reader = Reader { args: &args, first: None, other: false, failed: None };
    let outcome = recording.replay(epoch, |step| reader.see(&step))?;
    if let Some(error) = reader.failed {
        return Err(error);
    }
    let told = sentence(&outcome);
    if outcome.is_same() {
        return out(told);
    }
    Err(failed(Exit::Failed, told))
}

/// The last millisecond of the year 9999: what is later, in a recording that makes no sense, cannot be written.
const LAST: u64 = 253_402_300_799_999;

/// Whoever reads along.
struct Reader<'a> {
    args: &'a Args,
    /// When the first input was applied.
    first: Option<Mono>,
    /// An input had other effects, which was shown.
    other: bool,
    /// Why it cannot go on.
    failed: Option<anyhow::Error>,
}

impl Reader<'_> {
    fn see(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        let first = *self.first.get_or_insert(step.now.mono);
        let is_beyond = match self.args.until {
            None => false,
            Some(Until::At(wall)) => step.now.wall > wall,
            Some(Until::After(span)) => step.now.mono > first + span,
        };
        if is_beyond {
            return ControlFlow::Break(());
        }
        self.show(step).unwrap_or_else(|error| {
            self.failed = Some(error);
            ControlFlow::Break(())
        })
    }

    fn show(&mut self, step: &Step<'_>) -> anyhow::Result<ControlFlow<()>> {
        let is_other = matches!(step.verdict, Verdict::Other { .. } | Verdict::Panicked);
        // Of those that differ the first one says most: those behind it may only follow from it.
        let is_news = is_other && !self.other;
        self.other |= is_other;
        if self.args.quiet && !is_news {
            return Ok(ControlFlow::Continue(()));
        }
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(step.now.wall.as_millis().min(LAST));
        out(format_args!("{} <- {}", humantime::format_rfc3339_millis(at), Line(step.event)))?;
        for effect in step.effects {
            out(format_args!("  -> {}", Line(effect)))?;
        }
        match step.verdict {
            Verdict::Same | Verdict::Unknown => {}
            Verdict::Other { .. } => out("  !! it had other effects when it was recorded")?,
            Verdict::Panicked => out("  !! the master panics")?,
        }
        if self.args.step { ask(step) } else { Ok(ControlFlow::Continue(())) }
    }
}

/// Waits until the reader wants more.
fn ask(step: &Step<'_>) -> anyhow::Result<ControlFlow<()>> {
    loop {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            _ if read == 0 => return Ok(ControlFlow::Break(())),
            "" => return Ok(ControlFlow::Continue(())),
            "q" => return Ok(ControlFlow::Break(())),
            "s" => {
                let view = step.master.view(step.now);
                out(format_args!(
                    "{} agents, {} frameworks, {} tasks that have not ended, {} offers",
                    view.agents().count(),
                    view.frameworks().count(),
                    view.tasks().count(),
                    view.offers().count()
                ))?;
            }
            _ => say("Enter goes on, s tells what there is, q ends"),
        }
    }
}

/// What it came to.
fn sentence(outcome: &Outcome) -> String {
    let builds = outcome.builds.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let mut told = format!(
        "{} inputs, {} effects, {} segments of build {builds}: ",
        outcome.inputs, outcome.effects, outcome.segments
    );
    told += &match (outcome.others, &outcome.other_states[..]) {
        (0, []) => format!("the same effects as recorded (chain {:016x})", outcome.chain),
        (0, [segment, ..]) => format!("other states than recorded, first at segment {segment}"),
        (others, _) => format!("{others} of the inputs have other effects than recorded"),
    };
    if outcome.unknown > 0 {
        told += &format!(
            "; of {} inputs the effects are not known or were told by another build",
            outcome.unknown
        );
    }
    if outcome.gaps > 0 {
        told += &format!("; inputs are missing in front of {} segments", outcome.gaps);
    }
    match (outcome.crashed, outcome.panicked) {
        (true, true) => told += "; it ends with a panic, as it did",
        (true, false) => told += "; it ended with a panic, and does not now",
        (false, true) => told += "; it ends with a panic, and did not",
        (false, false) => {}
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_to_go_is_a_time_or_a_span_from_the_first_input() {
        assert_eq!(until("+90s"), Ok(Until::After(Duration::from_secs(90))));
        assert_eq!(until("1970-01-01T00:00:02Z"), Ok(Until::At(Wall(2_000))));
        for wrong in ["", "90s", "+", "+soon", "yesterday", "1969-12-31T23:59:59Z"] {
            let why = until(wrong).expect_err("it is no time");
            assert!(why.contains("2026-01-31T12:00:00Z"), "{why}");
        }
    }
}

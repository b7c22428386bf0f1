//! The small pieces that pages share: states, times, amounts, commands.
//!
//! A state is never colour alone: it is a shape, a word and a colour, the same as on the command line. A time is written
//! out in full and says "3 min ago" only where a script can keep that true.

use std::time::{Duration, UNIX_EPOCH};

use bourse_proto::operator::Amounts;
use bourse_proto::v1::Exit;
use maud::{Markup, html};

/// What a state means to whoever looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// Somebody should look.
    Bad,
    /// Over, or at rest.
    Faint,
    /// Just a word.
    Plain,
}

impl Tone {
    /// How a state of a task, agent, framework or service is meant.
    pub fn of(state: &str) -> Tone {
        match state.trim_start_matches("TASK_").to_ascii_lowercase().as_str() {
            "running" | "active" | "finished" | "healthy" => Tone::Good,
            "staging" | "starting" | "killing" | "draining" | "drained" | "deploying" | "waiting"
            | "recovering" | "recovered" | "removing" | "backing_off" => Tone::Busy,
            "killed" | "completed" | "inactive" | "suspended" => Tone::Faint,
            "failed" | "error" | "lost" | "dropped" | "unreachable" | "gone" | "gone_by_operator"
            | "unknown" | "disconnected" | "unhealthy" => Tone::Bad,
            _ => Tone::Plain,
        }
    }

    /// The class of the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Busy => "busy",
            Tone::Bad => "bad",
            Tone::Faint => "faint",
            Tone::Plain => "plain",
        }
    }

    /// Its shape. The layout has the drawings.
    pub fn mark(self) -> Markup {
        match self {
            Tone::Plain => html! {},
            tone => html! { svg.mark aria-hidden="true" { use href=(format!("#mark-{}", tone.class())) {} } },
        }
    }
}

/// "TASK_GONE_BY_OPERATOR" as people say it: "gone by operator". A framework that is "inactive" on the wire wants
/// nothing and is well: it is idle.
pub fn word(state: &str) -> String {
    if state == "inactive" {
        return "idle".into();
    }
    state.trim_start_matches("TASK_").to_ascii_lowercase().replace('_', " ")
}

/// A state: shape, word, colour.
pub fn state(state: &str) -> Markup {
    toned(Tone::of(state), &word(state))
}

/// A word with the shape and colour of a tone.
pub fn toned(tone: Tone, word: &str) -> Markup {
    html! { span.state.(tone.class()) { (tone.mark()) (word) } }
}

/// A point in time, in milliseconds since the Unix epoch. A dash for 0, which means never.
pub fn time(at_ms: u64) -> Markup {
    if at_ms == 0 {
        return dash();
    }
    let iso = iso(at_ms);
    let plain = iso.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(iso) data-ms=(at_ms) title=(plain) { (plain) } }
}

/// Where there is nothing to say.
pub fn dash() -> Markup {
    html! { span.none { "–" } }
}

/// A text, or a dash where it says nothing.
pub fn or_dash(text: &str) -> Markup {
    if text.is_empty() {
        dash()
    } else {
        html! { (text) }
    }
}

fn iso(at_ms: u64) -> String {
    // The last second of the year 9999: later ones have no such form.
    let at_ms = at_ms.min(253_402_300_799_000);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at_ms)).to_string()
}

/// A number as people write it: at most three digits after the point, no trailing zeros.
pub fn number(number: f64) -> String {
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// What was measured: two digits after the point.
pub fn measured(number: f64) -> String {
    format!("{number:.2}")
}

/// Mebibytes in the unit that a person would choose.
pub fn mib(amount: f64) -> String {
    if amount >= 1024.0 * 1024.0 {
        format!("{}TiB", number((amount / 1024.0 / 1024.0 * 10.0).round() / 10.0))
    } else if amount >= 4096.0 {
        format!("{}GiB", number((amount / 1024.0 * 10.0).round() / 10.0))
    } else if amount >= 10.0 {
        format!("{}MiB", amount.round())
    } else {
        format!("{}MiB", number((amount * 10.0).round() / 10.0))
    }
}

/// "2 cpus, 512MiB": what people compare. With everything else on hover.
pub fn amounts(amounts: Option<&Amounts>) -> Markup {
    let Some(amounts) = amounts else { return dash() };
    if amounts.text.is_empty() && amounts.cpus == 0.0 && amounts.mem_mib == 0.0 {
        return dash();
    }
    let text = (!amounts.text.is_empty()).then_some(&amounts.text);
    html! { span title=[text] { (number(amounts.cpus)) " cpus, " (mib(amounts.mem_mib)) } }
}

/// A share of the cluster as a percentage.
pub fn share(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// How a process ended, in words.
pub fn exit(exit: Option<&Exit>) -> Markup {
    match exit.map(|exit| (exit.code, exit.signal)) {
        Some((Some(code), _)) => html! { "exit " (code) },
        Some((None, Some(signal))) => html! { "signal " (signal) },
        _ => dash(),
    }
}

/// A clause of the master's as a sentence: it begins with a capital, unless a command or a name does.
pub fn sentence(clause: &str) -> String {
    let mut chars = clause.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    first + chars.as_str()
}

/// A command to copy.
pub fn command(command: &str) -> Markup {
    html! {
        span.command { code { (command) } button.copy type="button" data-copy=(command) hidden { "copy" } }
    }
}

/// A word as a shell takes it: quoted where it must be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:@%+,=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Names with their values.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, Markup)>) -> Markup {
    html! {
        dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_a_shape_and_a_word_and_a_colour() {
        let html = state("TASK_GONE_BY_OPERATOR").into_string();
        assert!(
            html.contains("#mark-bad") && html.contains("gone by operator") && html.contains("state bad"),
            "{html}"
        );
    }

    #[test]
    fn a_time_is_complete_without_a_script() {
        let html = time(1_790_000_000_000).into_string();
        assert!(html.contains(r#"datetime="2026-09-21T14:13:20Z""#), "{html}");
        assert!(html.contains(">2026-09-21 14:13:20 UTC<"), "{html}");
        assert!(!time(0).into_string().contains("time"));
        assert!(time(u64::MAX).into_string().contains("9999-12-31"));
    }

    #[test]
    fn amounts_are_written_as_people_do() {
        assert_eq!([0.0, -0.0, 0.5, 2.0, 1.2346].map(number), ["0", "0", "0.5", "2", "1.235"]);
        assert_eq!(
            [3.25, 512.0, 4096.0, 12_288.0, 2_097_152.0].map(mib),
            ["3.3MiB", "512MiB", "4GiB", "12GiB", "2TiB"]
        );
    }

    #[test]
    fn a_command_is_quoted_for_a_shell() {
        assert_eq!(quoted("web.0"), "web.0");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn nothing_that_somebody_named_becomes_markup() {
        let evil = "<script>alert(1)</script>\"'&";
        use crate::serve::web::names::id;
        for html in [
            state(evil),
            id(evil),
            command(evil),
            amounts(Some(&Amounts { text: evil.into(), ..Amounts::default() })),
        ] {
            let html = html.into_string();
            assert!(!html.contains("<script") && !html.contains("\"'"), "{html}");
        }
    }
}

//! The small pieces that pages share: states, times, amounts, commands.
//!
//! A state is never colour alone: it is a shape, a word and a colour, the same as on the command line. A time is written
//! out in full and says "3 min ago" only where a script can keep that true.

use bourse_proto::operator::Amounts;
use bourse_proto::v1::Exit;
use bourse_words::{self as words, Tone};
use maud::{Markup, html};

/// The class of a tone in the style sheet.
pub fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Busy => "busy",
        Tone::Bad => "bad",
        Tone::Faint => "faint",
        Tone::Plain => "plain",
    }
}

/// The shape of a tone. The layout has the drawings.
pub fn mark(tone: Tone) -> Markup {
    match tone {
        Tone::Plain => html! {},
        tone => html! { svg.mark aria-hidden="true" { use href=(format!("#mark-{}", class(tone))) {} } },
    }
}

/// A state: shape, word, colour.
pub fn state(state: &str) -> Markup {
    toned(Tone::of(state), &words::state(state))
}

/// A word with the shape and colour of a tone.
pub fn toned(tone: Tone, word: &str) -> Markup {
    html! { span.state.(class(tone)) { (mark(tone)) (word) } }
}

/// A point in time, in milliseconds since the Unix epoch. A dash for 0, which means never.
pub fn time(at_ms: u64) -> Markup {
    if at_ms == 0 {
        return dash();
    }
    let plain = words::time(at_ms);
    let iso = plain.replacen(' ', "T", 1).replace(" UTC", "Z");
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

/// "2 cpus, 512MiB", with everything else on hover.
pub fn amounts(amounts: Option<&Amounts>) -> Markup {
    let text = amounts.map(|amounts| &amounts.text).filter(|text| !text.is_empty());
    match words::amounts(amounts) {
        Some(said) => html! { span title=[text] { (said) } },
        None => html! { span.none title=[text] { "–" } },
    }
}

/// How a process ended, in words.
pub fn exit(exit: Option<&Exit>) -> Markup {
    words::exit(exit).map_or_else(dash, |said| html! { (said) })
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

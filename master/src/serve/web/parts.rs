//! The small pieces that pages share: states, times, amounts, bars, commands.
//!
//! A state is never colour alone: it is a shape, a word and a colour, the same as on the command line. A time is written
//! out in full and says "3 min ago" only where a script can keep that true.

use std::time::{Duration, UNIX_EPOCH};

use bourse_proto::operator::{Amounts, ResourceReport};
use bourse_proto::v1::Exit;
use maud::{Markup, html};

use super::view;

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

/// "TASK_GONE_BY_OPERATOR" as people say it: "gone by operator".
pub fn word(state: &str) -> String {
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
    } else if amount >= 10_240.0 {
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

/// An id, short, and in full on hover.
pub fn id(id: &str) -> Markup {
    let short = short(id);
    html! { span.id title=[(short != id).then_some(id)] { (short) } }
}

/// The part of an id by which its master tells things apart, which names it everywhere: `S3` of an agent, `0001` of a
/// framework. Other ids as they are, or their end when they are long.
pub fn short(id: &str) -> String {
    match id.rsplit_once('-') {
        Some((master, number)) if master.len() >= UUID && !number.is_empty() => number.to_owned(),
        _ if id.chars().count() > ID_SHOWN => {
            format!("…{}", id.chars().skip(id.chars().count() - ID_SHOWN).collect::<String>())
        }
        _ => id.to_owned(),
    }
}

/// The length of a master's id, which agents', frameworks' and offers' ids begin with.
const UUID: usize = 36;

/// So many characters of an id are shown where it stands beside a name.
const ID_SHOWN: usize = 24;

/// A sentence of the master's: agents and frameworks that it names by their ids are links, points in time are told as
/// everywhere else.
pub fn prose(sentence: &str) -> Markup {
    html! {
        @for (index, word) in sentence.split(' ').enumerate() {
            @if index > 0 { " " }
            @let bare = word.trim_matches(['(', ')', ':', ',', ';', '.', '"']);
            @let (before, after) = word.split_once(bare).unwrap_or((word, ""));
            @match named(bare) {
                _ if bare.is_empty() => (word),
                Named::Agent => { (before) a href=(view::agent(bare)) title=(bare) { (short(bare)) } (after) }
                Named::Framework => { (before) a href=(view::framework(bare)) title=(bare) { (short(bare)) } (after) }
                Named::Offer => { (before) span title=(bare) { (short(bare)) } (after) }
                Named::Time(at_ms) => { (before) (time(at_ms)) (after) }
                Named::Nothing => (word),
            }
        }
    }
}

/// What a word of a sentence may be.
enum Named {
    Agent,
    Framework,
    Offer,
    Time(u64),
    Nothing,
}

/// Ids are a master's id and `S1` for an agent, `0001` for a framework, `O1` for an offer.
fn named(word: &str) -> Named {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match word.rsplit_once('-') {
        Some((master, number)) if master.len() == UUID && master.split('-').count() == 5 => {
            match (number.strip_prefix('S'), number.strip_prefix('O')) {
                (Some(agent), _) if digits(agent) => Named::Agent,
                (_, Some(offer)) if digits(offer) => Named::Offer,
                _ if digits(number) => Named::Framework,
                _ => Named::Nothing,
            }
        }
        _ if word.ends_with('Z') && word.contains('T') => match humantime::parse_rfc3339(word) {
            Ok(at) => Named::Time(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)),
            Err(_) => Named::Nothing,
        },
        _ => Named::Nothing,
    }
}

/// Names with their values.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, Markup)>) -> Markup {
    html! {
        dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } }
    }
}

/// A resource of a report, to be drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measure {
    /// What there is.
    pub total: f64,
    /// Held for a role.
    pub reserved: f64,
    /// In an outstanding offer.
    pub offered: f64,
    /// Given to tasks.
    pub allocated: f64,
    /// What the tasks really use.
    pub used: f64,
    /// total - offered - allocated.
    pub available: f64,
}

impl Measure {
    /// One resource of a report.
    pub fn of(report: &ResourceReport, pick: fn(&Amounts) -> f64) -> Measure {
        let part = |amounts: &Option<Amounts>| amounts.as_ref().map_or(0.0, pick);
        Measure {
            total: part(&report.total),
            reserved: part(&report.reserved),
            offered: part(&report.offered),
            allocated: part(&report.allocated),
            used: part(&report.used),
            available: part(&report.available),
        }
    }
}

/// The resources that people look at, with how an amount of each is written.
pub const RESOURCES: &[(&str, Pick, Write)] = &[
    ("cpus", |amounts| amounts.cpus, number),
    ("memory", |amounts| amounts.mem_mib, mib),
    ("disk", |amounts| amounts.disk_mib, mib),
    ("gpus", |amounts| amounts.gpus, number),
];

/// Which resource.
pub type Pick = fn(&Amounts) -> f64;

/// How an amount of it is written.
pub type Write = fn(f64) -> String;

/// What is drawn: allocated from the left and what is used of it inside, then offered; reserved as a line below, as it
/// says for whom and not whether. What is left of the track is available.
pub fn bar(measure: &Measure, said: &str) -> Markup {
    let percent = |part: f64| match measure.total > 0.0 {
        true => (part / measure.total * 100.0).clamp(0.0, 100.0),
        false => 0.0,
    };
    let (allocated, used) = (percent(measure.allocated), percent(measure.used));
    let offered = percent(measure.offered).min(100.0 - allocated);
    let reserved = percent(measure.reserved);
    let wide = |percent: f64| format!("{percent:.1}%");
    html! {
        svg.bar role="img" aria-label=(said) {
            title { (said) }
            rect.total width="100%" height="10" rx="2" {}
            rect.allocated width=(wide(allocated)) height="10" rx="2" {}
            rect x=(wide(allocated)) width=(wide(offered)) height="10" rx="2" fill="url(#stripes)" {}
            rect.used y="3" width=(wide(used)) height="4" rx="1" {}
            rect.reserved y="12" width=(wide(reserved)) height="2" {}
        }
    }
}

/// The five parts and what is left, in words: "cpus: total 4, reserved 0, ...".
pub fn said(name: &str, measure: &Measure, write: Write) -> String {
    format!(
        "{name}: total {}, reserved {}, offered {}, allocated {}, used {}, available {}",
        write(measure.total),
        write(measure.reserved),
        write(measure.offered),
        write(measure.allocated),
        used(measure, write),
        write(measure.available)
    )
}

/// The used part: measured, so never a round number.
fn used(measure: &Measure, write: Write) -> String {
    // A measurement has more digits than anybody reads.
    write((measure.used * 100.0).round() / 100.0)
}

/// All resources of a report with all of their parts.
pub fn capacity(id: &'static str, report: Option<&ResourceReport>) -> Markup {
    let empty = ResourceReport::default();
    let report = report.unwrap_or(&empty);
    let shown = RESOURCES.iter().map(|(name, pick, write)| (name, Measure::of(report, *pick), write));
    let shown = shown.filter(|(name, measure, _)| **name != "gpus" || measure.total > 0.0);
    let ports = |amounts: &Option<Amounts>| {
        let ports = amounts.as_ref().map_or("", |amounts| amounts.ports.as_str());
        if ports.is_empty() {
            dash()
        } else {
            html! { span.ports { (ports) } }
        }
    };
    html! {
        section.part id=(id) {
            h2 { "Resources" }
            table.capacity role="table" {
                thead role="rowgroup" { tr role="row" {
                    th scope="col" role="columnheader" { span.hidden { "resource" } }
                    td role="cell" {}
                    @for part in ["total", "reserved", "offered", "allocated", "used", "available"] {
                        th.num scope="col" role="columnheader" { (swatch(part)) (part) }
                    }
                } }
                tbody role="rowgroup" {
                    @for (name, measure, write) in shown {
                        tr role="row" {
                            th scope="row" role="rowheader" { (name) }
                            td.bar role="cell" { (bar(&measure, &said(name, &measure, *write))) }
                            td.num role="cell" data-label="total" { (swatch("total")) (write(measure.total)) }
                            td.num role="cell" data-label="reserved" { (swatch("reserved")) (write(measure.reserved)) }
                            td.num role="cell" data-label="offered" { (swatch("offered")) (write(measure.offered)) }
                            td.num role="cell" data-label="allocated" { (swatch("allocated")) (write(measure.allocated)) }
                            td.num role="cell" data-label="used" { (swatch("used")) (used(&measure, *write)) }
                            td.num role="cell" data-label="available" { (swatch("available")) (write(measure.available)) }
                        }
                    }
                    @if report.total.as_ref().is_some_and(|total| !total.ports.is_empty()) {
                        tr role="row" {
                            th scope="row" role="rowheader" { "ports" }
                            td.bar role="cell" {}
                            td.num role="cell" data-label="total" { (ports(&report.total)) }
                            td.num role="cell" data-label="reserved" { (ports(&report.reserved)) }
                            td.num role="cell" data-label="offered" { (ports(&report.offered)) }
                            td.num role="cell" data-label="allocated" { (ports(&report.allocated)) }
                            td.num role="cell" data-label="used" { (dash()) }
                            td.num role="cell" data-label="available" { (ports(&report.available)) }
                        }
                    }
                }
            }
        }
    }
}

/// A sample of how a part is drawn.
fn swatch(part: &str) -> Markup {
    html! {
        svg.swatch.(part) aria-hidden="true" {
            // By an attribute: in a style sheet the pattern's name would be looked for in the style sheet.
            rect.(part) width="10" height="10" rx="2" fill=[(part == "offered").then_some("url(#stripes)")] {}
        }
    }
}

/// A resource in a row: its bar, and the parts that are not nothing.
pub fn gauge(name: &str, report: Option<&ResourceReport>) -> Markup {
    let Some((report, (name, pick, write))) = report.zip(RESOURCES.iter().find(|(known, ..)| *known == name))
    else {
        return dash();
    };
    let measure = Measure::of(report, *pick);
    if measure.total == 0.0 {
        return dash();
    }
    let parts =
        [("allocated", measure.allocated), ("offered", measure.offered), ("reserved", measure.reserved)];
    html! {
        span.gauge {
            (bar(&measure, &said(name, &measure, *write)))
            span.legend {
                b { (write(measure.total)) } " total"
                @for (part, amount) in parts.iter().filter(|(_, amount)| *amount > 0.0) {
                    " · " (write(*amount)) " " (part)
                }
                @if measure.used > 0.0 { " · " (used(&measure, *write)) " used" }
            }
        }
    }
}

/// A share of the cluster as a bar and a figure; of which resource, where that is known.
pub fn share_bar(of: f64, resource: &str) -> Markup {
    let said = share(of);
    html! {
        span.gauge {
            svg.bar.slim role="img" aria-label=(said) {
                rect.total width="100%" height="6" rx="2" {}
                rect.used width=(format!("{:.1}%", (of * 100.0).clamp(0.0, 100.0))) height="6" rx="2" {}
            }
            span.legend { b { (said) } @if !resource.is_empty() { " of " (resource) } }
        }
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
            ["3.3MiB", "512MiB", "4096MiB", "12GiB", "2TiB"]
        );
    }

    #[test]
    fn what_is_offered_begins_where_allocated_ends_and_never_leaves_the_bar() {
        let measure = Measure { total: 4.0, allocated: 3.0, offered: 2.0, used: 9.0, ..Measure::default() };
        let html = bar(&measure, "cpus").into_string();
        assert!(html.contains(r#"class="allocated" width="75.0%""#), "{html}");
        assert!(
            html.contains(r#"x="75.0%" width="25.0%" height="10" rx="2" fill="url(#stripes)""#),
            "{html}"
        );
        assert!(html.contains(r#"class="used" y="3" width="100.0%""#), "{html}");
        assert!(!bar(&Measure::default(), "none").into_string().contains("NaN"));
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

    #[test]
    fn a_sentence_links_the_agents_and_frameworks_that_it_names_and_tells_times_as_everywhere() {
        let master = "881cf9f0-ba0e-46d8-a2c6-b5118431bcc5";
        let html =
            prose(&format!("Agent {master}-S1 (of {master}-0002) since 2026-09-21T14:13:20.000Z; <b>"))
                .into_string();
        assert_eq!(
            html,
            format!(
                "Agent <a href=\"/agents/{master}-S1\" title=\"{master}-S1\">S1</a> \
                 (of <a href=\"/frameworks/{master}-0002\" title=\"{master}-0002\">0002</a>) since {}; &lt;b&gt;",
                time(1_790_000_000_000).into_string()
            )
        );
        assert_eq!(prose(" a  b-c ").into_string(), " a  b-c ");
    }
}

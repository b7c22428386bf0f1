//! Resources as bars and figures: five parts, each drawn in its own way, none shown for another.
//!
//! What is allocated begins at the left, with what is used of it inside; what is offered follows; the line below is what
//! is reserved; what is left of the track is available. Each bar says the same in words.

use bourse_proto::operator::{Amounts, ResourceReport};
use bourse_words::{mib, number, share};
use maud::{Markup, html};

use super::parts::dash;

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
            html! { span.ports { (ranges(ports)) } }
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
                            td.num role="cell" data-label="used" {
                                (swatch("used"))
                                // Of an agent that is unreachable nobody knows.
                                @if report.used.is_some() { (used(&measure, *write)) } @else { (dash()) }
                            }
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

/// "[31000-31000, 31002-31009]" as people write it: "31000, 31002-31009".
fn ranges(ports: &str) -> String {
    let each = ports.trim_matches(['[', ']']).split(", ").map(|range| match range.split_once('-') {
        Some((first, last)) if first == last => first,
        _ => range,
    });
    each.collect::<Vec<_>>().join(", ")
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
    fn the_five_parts_and_what_is_left_stand_in_the_order_of_their_headings() {
        let part = |cpus: f64, port: u16| {
            let ports = format!("[{port}-{port}]");
            Some(Amounts { cpus, mem_mib: cpus * 10.0, ports, ..Amounts::default() })
        };
        let report = ResourceReport {
            total: part(21.0, 1),
            reserved: part(6.0, 2),
            offered: part(5.0, 3),
            allocated: part(4.0, 4),
            used: part(3.0, 5),
            available: part(12.0, 6),
        };
        let html = capacity("capacity", Some(&report)).into_string();
        let cells = |row: &str| {
            let row = &html[html.find(&format!(">{row}</th>")).expect("a row")..];
            let cells = row[..row.find("</tr>").expect("its end")].split("data-label=\"").skip(1);
            let text = |cell: &str| {
                let (label, cell) = cell.split_once('"').expect("its end");
                let texts = cell.split('<').filter_map(|piece| piece.split_once('>'));
                format!("{label} {}", texts.map(|(_, text)| text).collect::<String>())
            };
            cells.map(text).collect::<Vec<_>>()
        };
        let cpus = ["total 21", "reserved 6", "offered 5", "allocated 4", "used 3", "available 12"];
        let memory = cpus.map(|cell| format!("{cell}0MiB"));
        let ports = ["total 1", "reserved 2", "offered 3", "allocated 4", "used –", "available 6"];
        assert_eq!(
            (cells("cpus"), cells("ports")),
            (cpus.map(String::from).into(), ports.map(String::from).into())
        );
        assert_eq!(cells("memory"), memory);
        let headings = ["total", "reserved", "offered", "allocated", "used", "available"];
        let at = headings.map(|part| html.find(&format!("</svg>{part}</th>")).expect("a heading"));
        assert!(at.is_sorted(), "{at:?}");
    }

    #[test]
    fn a_gauge_tells_each_part_by_its_name() {
        let part = |cpus: f64| Some(Amounts { cpus, ..Amounts::default() });
        let report = ResourceReport {
            total: part(21.0),
            reserved: part(6.0),
            offered: part(5.0),
            allocated: part(4.0),
            used: part(3.0),
            available: part(12.0),
        };
        let html = gauge("cpus", Some(&report)).into_string();
        assert!(html.contains("<b>21</b> total · 4 allocated · 5 offered · 6 reserved · 3 used"), "{html}");
    }
}

//! What all pages have in common: head, navigation, verdict, foot.

use bourse_proto::operator::{Cluster, Severity};
use bourse_words::Tone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets;
use super::names::{id, prose};
use super::page::{Block, Page};
use super::parts::{class, command, mark, time};
use super::view::{PLACES, View};

/// Who sees a page, and how it goes on.
pub struct Frame<'a> {
    /// Which page it is.
    pub view: &'a View,
    /// The whole, for verdict and foot; `None` when not even that could be asked.
    pub cluster: Option<&'a Cluster>,
    /// What of the page has been seen, for the stream of its changes; `None` when it has none.
    pub seen: Option<String>,
}

/// The sentence at the top of every page.
pub fn verdict(cluster: &Cluster) -> Block {
    let tone = match cluster.problems.iter().map(|problem| problem.severity()).max() {
        None => Tone::Good,
        Some(Severity::Critical) => Tone::Bad,
        Some(Severity::Warning | Severity::Unspecified) => Tone::Busy,
    };
    Block {
        id: "verdict",
        html: html! { p #verdict.(class(tone)) { (mark(tone)) (prose(&cluster.verdict)) } },
    }
}

/// The whole document.
pub fn document(frame: &Frame<'_>, page: &Page) -> Markup {
    let address = frame.view.address();
    let live = frame.seen.as_ref().map(|_| format!("/live?{}", page_query(&address)));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) " · Bourse" }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.address());
                link rel="stylesheet" href=(assets::STYLE.address());
                script src=(assets::SCRIPT.address()) defer {}
                @if frame.seen.is_some() { noscript { meta http-equiv="refresh" content="10"; } }
            }
            body data-live=[live] data-seen=[frame.seen.as_ref()]
                data-now=[frame.cluster.map(|cluster| cluster.now_ms)] {
                (marks())
                a.skip href="#main" { "Skip to the page" }
                header.top {
                    a.wordmark href="/" { svg aria-hidden="true" { use href="#wordmark" {} } "Bourse" }
                    nav aria-label="Pages" {
                        @for (word, place, key) in PLACES {
                            a href=(place) data-key=(key) aria-current=[(*place == frame.view.place()).then_some("page")] {
                                (word)
                            }
                        }
                    }
                    form role="search" action="/search" {
                        input #find type="search" name="q" placeholder="Find  /" autocomplete="off" spellcheck="false"
                            aria-label="Find an agent, framework, service or task; what is typed filters this page"
                            value=(searched(frame.view));
                    }
                }
                div #strip role="status" hidden {}
                div.verdict aria-live="polite" {
                    @if let Some(cluster) = frame.cluster { (verdict(cluster).html) }
                }
                main #main {
                    div.head { h1 { (page.title) } (command(&page.command)) }
                    @for part in &page.parts { (part) }
                }
                footer {
                    @if let Some(cluster) = frame.cluster {
                        span { "master " (id(&cluster.master_id)) }
                        span { "epoch " (cluster.epoch) }
                        span { "Bourse " (cluster.version) }
                        span { "started " (time(cluster.started_ms)) }
                    }
                    button #pause type="button" hidden { "Pause" }
                    button #keys type="button" hidden { "Keys  ?" }
                }
                (keys())
            }
        }
    }
}

fn page_query(address: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("page", address).finish()
}

fn searched(view: &View) -> &str {
    match view {
        View::Search(text) => text,
        _ => "",
    }
}

/// The drawings that pages use by name, so that each is sent once.
fn marks() -> Markup {
    PreEscaped(include_str!("assets/marks.svg").to_owned())
}

fn keys() -> Markup {
    html! {
        dialog #help aria-labelledby="help-title" {
            form method="dialog" {
                h2 #help-title { "Keys" }
                dl.keys {
                    div { dt { kbd { "/" } } dd { "find, and filter this page" } }
                    @for (word, _, key) in PLACES {
                        div { dt { kbd { "g" } " " kbd { (key) } } dd { (word) } }
                    }
                    div { dt { kbd { "j" } " " kbd { "k" } } dd { "next and previous row" } }
                    div { dt { kbd { "Enter" } } dd { "open the row" } }
                    div { dt { kbd { "Esc" } } dd { "leave the box, clear the filter" } }
                }
                button { "Close" }
            }
        }
    }
}

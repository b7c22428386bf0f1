//! Outstanding offers: who holds what of which agent, and until when.

use bourse_proto::operator::Offer;
use maud::html;

use super::names::{self, id};
use super::page::{Column, Listed, Page, Part, Row, Table};
use super::parts::{amounts, time};
use super::view;

/// The page.
pub fn page(offers: &Listed<Offer>) -> Page {
    let table = table(&offers.things).out_of(offers.total);
    Page { title: "Offers".into(), command: "bourse offers".into(), parts: vec![Part::Table(table)] }
}

/// Offers as a table.
pub fn table(offers: &[Offer]) -> Table {
    let (rows, left_out) = Table::rows(offers, |it| [row(it)]);
    Table {
        id: "offers",
        heading: "",
        columns: const {
            &[
                Column::text("offer"),
                Column::text("held by"),
                Column::text("of agent"),
                Column::text("for role"),
                Column::text("resources"),
                Column::text("since"),
                Column::text("expires"),
            ]
        },
        rows,
        left_out,
        all: "bourse offers".into(),
        empty: html! {
            "No offer is outstanding: every framework has answered, or wants nothing right now. "
            "Why one waits is told by " code { "bourse why FRAMEWORK" } "."
        },
    }
}

/// One offer as a row.
fn row(offer: &Offer) -> Row {
    let cells = vec![
        id(&offer.id),
        names::framework(&offer.framework_id, &offer.framework_name),
        names::agent(&offer.agent_id, &offer.hostname),
        html! { (offer.role) },
        amounts(offer.resources.as_ref()),
        time(offer.offered_ms),
        offer.expires_ms.map_or_else(|| html! { "never" }, time),
    ];
    Row::new(format!("offer-{}", view::encode(&offer.id)), cells)
}

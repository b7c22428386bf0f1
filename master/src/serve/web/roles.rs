//! The tree of roles: weights, shares, who is in each.

use bourse_proto::operator::Role;
use bourse_words::number;
use maud::html;

use super::bars::share_bar;
use super::page::{Column, Listed, Page, Part, Row, Table};
use super::parts::{amounts, dash};
use super::view;

/// The page.
pub fn page(roles: &Listed<Role>) -> Page {
    let (rows, left_out) = Table::rows(&roles.things, |role| [row(role)]);
    let table = Table {
        id: "roles",
        heading: "",
        columns: const {
            &[
                Column::text("role"),
                Column::number("weight"),
                Column::text("dominant share"),
                Column::text("reserved"),
                Column::text("offered"),
                Column::text("allocated"),
                Column::text("frameworks"),
            ]
        },
        rows,
        left_out,
        all: "bourse roles".into(),
        empty: html! { "No role is in use: a role appears with the first framework that subscribes with it." },
    };
    Page {
        title: "Roles".into(),
        command: "bourse roles".into(),
        parts: vec![
            Part::Table(table.out_of(roles.total)),
            Part::Still(html! {
                p.more {
                    "The allocator offers to the role with the smallest share by its weight first. Change a weight with "
                    code { "bourse weight ROLE WEIGHT" } "."
                }
            }),
        ],
    }
}

/// How many frameworks of a role are named.
const FRAMEWORKS: usize = 20;

/// One role as a row, set in by its depth in the tree.
fn row(role: &Role) -> Row {
    let depth = role.name.matches('/').count().min(6);
    let cells = vec![
        html! { span class={ "depth-" (depth) } { (role.name) } },
        html! { (number(role.weight)) },
        share_bar(role.dominant_share, ""),
        amounts(role.reserved.as_ref()),
        amounts(role.offered.as_ref()),
        amounts(role.allocated.as_ref()),
        html! {
            @if role.frameworks.is_empty() { (dash()) }
            @for framework in role.frameworks.iter().take(FRAMEWORKS) {
                a href=(view::framework(framework)) { (super::names::id(framework)) } " "
            }
            @if role.frameworks.len() > FRAMEWORKS { small { "and " (role.frameworks.len() - FRAMEWORKS) " more" } }
        },
    ];
    Row::new(format!("role-{}", view::encode(&role.name)), cells)
}

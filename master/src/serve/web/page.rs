//! What a page is made of.
//!
//! A page is a list of parts. Those that can change have an id and are compared piece by piece when something happens:
//! [`live`](super::live) sends only the pieces that differ, rendered by the same functions as the whole page, so that
//! what is on the screen is always what a reload would show.

use maud::{Markup, Render, html};

/// One page, ready to be laid out.
pub struct Page {
    /// Its heading, and the first words of the window's title.
    pub title: String,
    /// The command that tells the same.
    pub command: String,
    /// From top to bottom.
    pub parts: Vec<Part>,
}

/// A piece of a page.
pub enum Part {
    /// A piece that is replaced as a whole when it changes.
    Block(Block),
    /// Rows that come, change and go one by one.
    Table(Table),
    /// A piece that does not change, or looks after itself.
    Still(Markup),
}

/// A piece that is replaced as a whole.
pub struct Block {
    /// Unique in the page. An element of this id is at the top of `html`.
    pub id: &'static str,
    /// The element.
    pub html: Markup,
}

/// A table whose rows have ids.
pub struct Table {
    /// Unique in the page.
    pub id: &'static str,
    /// Its heading; empty for none, where the page's own heading says it.
    pub heading: &'static str,
    /// From left to right. The first names what the row is about.
    pub columns: &'static [Column],
    /// From top to bottom.
    pub rows: Vec<Row>,
    /// Said instead of rows: why there are none and how to get some.
    pub empty: Markup,
}

/// A column of a table.
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// Whether it holds numbers, which are set to the right.
    pub number: bool,
}

/// A row of a table.
pub struct Row {
    /// Unique in the page.
    pub id: String,
    /// How it stands out; usually not at all.
    pub class: Option<&'static str>,
    /// As many as there are columns.
    pub cells: Vec<Markup>,
}

impl Part {
    /// A block.
    pub fn block(id: &'static str, html: Markup) -> Part {
        Part::Block(Block { id, html })
    }
}

impl Column {
    /// A column of text.
    pub const fn text(name: &'static str) -> Column {
        Column { name, number: false }
    }

    /// A column of numbers.
    pub const fn number(name: &'static str) -> Column {
        Column { name, number: true }
    }
}

impl Row {
    /// A usual row.
    pub fn new(id: String, cells: Vec<Markup>) -> Row {
        Row { id, class: None, cells }
    }

    /// The row as an element. On a narrow screen the style sheet makes a card of it, with the columns' names inside;
    /// the roles keep it a table for those who listen to it.
    pub fn html(&self, columns: &[Column]) -> Markup {
        html! {
            tr id=(self.id) class=[self.class] role="row" {
                @for (index, (cell, column)) in self.cells.iter().zip(columns).enumerate() {
                    @if index == 0 {
                        th scope="row" role="rowheader" { (cell) }
                    } @else {
                        td role="cell" class=[column.number.then_some("num")] data-label=(column.name) { (cell) }
                    }
                }
            }
        }
    }
}

impl Render for Table {
    fn render(&self) -> Markup {
        html! {
            section.part {
                @if !self.heading.is_empty() { h2 { (self.heading) } }
                table.rows role="table" aria-label=[(!self.heading.is_empty()).then_some(self.heading)] {
                    thead role="rowgroup" {
                        tr role="row" {
                            @for column in self.columns {
                                th scope="col" role="columnheader" class=[column.number.then_some("num")] { (column.name) }
                            }
                        }
                    }
                    // No white space inside: the style sheet shows the words for "none" beside an :empty body.
                    tbody id=(self.id) role="rowgroup" { @for row in &self.rows { (row.html(self.columns)) } }
                }
                div.empty { (self.empty) }
            }
        }
    }
}

impl Render for Part {
    fn render(&self) -> Markup {
        match self {
            Part::Block(block) => block.html.clone(),
            Part::Table(table) => table.render(),
            Part::Still(html) => html.clone(),
        }
    }
}

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

/// How many rows a table has, or a few more: what people read on one page. Each open page keeps a rendered copy of its
/// rows, of some thousand bytes each.
pub const PAGE: usize = 200;

/// What a page shows of a list that may be much longer.
pub struct Listed<T> {
    /// The first things of it.
    pub things: Vec<T>,
    /// How many there are.
    pub total: usize,
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
    /// How many things have no row here.
    pub left_out: usize,
    /// The command that lists them all.
    pub all: String,
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

impl Table {
    /// The rows of the first things, and how many are left out. One thing may have several rows.
    pub fn rows<T, R: IntoIterator<Item = Row>>(things: &[T], of: impl Fn(&T) -> R) -> (Vec<Row>, usize) {
        let (mut rows, mut shown) = (Vec::new(), 0);
        for thing in things {
            if rows.len() >= PAGE {
                break;
            }
            rows.extend(of(thing));
            shown += 1;
        }
        (rows, things.len() - shown)
    }

    /// The same as the head of a list of so many things, with a row each.
    pub fn out_of(mut self, total: usize) -> Table {
        self.left_out = total.saturating_sub(self.rows.len());
        self
    }

    /// The id of what follows the rows.
    pub fn more_id(&self) -> String {
        format!("{}-more", self.id)
    }

    /// What follows the rows: that there are more. It changes with them.
    pub fn more(&self) -> Markup {
        html! {
            p.more id=(self.more_id()) hidden[self.left_out == 0] {
                (self.left_out) " more not shown; " code { (self.all) } " lists all."
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
                (self.more())
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

#[cfg(test)]
mod tests {
    use bourse_proto::operator::{Agent, Framework, Offer, Role, Task};
    use bourse_proto::services::{Instance, Service};

    use super::*;
    use crate::serve::web::{agents, frameworks, offers, roles, services, tasks};

    fn many<T: Default + Clone>(name: impl Fn(&mut T, String)) -> Vec<T> {
        let one = |index: usize| {
            let mut one = T::default();
            name(&mut one, format!("n{index}"));
            one
        };
        (0..PAGE * 3).map(one).collect()
    }

    fn listed<T: Clone>(all: &[T]) -> Listed<T> {
        Listed { things: all[..PAGE].to_vec(), total: all.len() }
    }

    #[test]
    fn a_table_has_a_bound_and_tells_how_many_it_leaves_out_and_what_lists_them() {
        let agents = many(|it: &mut Agent, name| it.id = name);
        let frameworks = many(|it: &mut Framework, name| it.id = name);
        let offers = many(|it: &mut Offer, name| it.id = name);
        let roles = many(|it: &mut Role, name| it.name = name);
        let tasks = many(|it: &mut Task, name| it.id = name);
        let services = many(|it: &mut Service, name| it.name = name);
        let instances = many(|it: &mut Instance, name| it.name = name);
        let service = Service { name: "web".into(), instances, ..Service::default() };
        let known = services::Services { services, ..services::Services::default() };
        let running = Agent { id: "a".into(), tasks: PAGE as u32 * 3, ..Agent::default() };
        let one_agent = agents::OneAgent {
            agent: running,
            tasks: tasks[..PAGE].to_vec(),
            offers: listed(&offers),
            events: Vec::new(),
            names: Default::default(),
        };
        let framework = Framework { id: "f".into(), tasks: PAGE as u32 * 3, ..Framework::default() };
        let one_framework = frameworks::OneFramework {
            framework,
            tasks: tasks[..PAGE].to_vec(),
            offers: listed(&offers),
            events: Vec::new(),
            explanation: None,
        };
        for (page, commands) in [
            (agents::page(&listed(&agents)), vec!["bourse agents"]),
            (
                frameworks::page(true, &listed(&frameworks), &listed(&offers)),
                vec!["bourse frameworks -a", "bourse offers"],
            ),
            (offers::page(&listed(&offers)), vec!["bourse offers"]),
            (roles::page(&listed(&roles)), vec!["bourse roles"]),
            (services::page(&known), vec!["bourse service list"]),
            (services::one(&known, &service), vec!["bourse service show web"]),
            (agents::one(&one_agent), vec!["bourse ps --agent a", "bourse offers --agent a"]),
            (frameworks::one(&one_framework), vec!["bourse offers --framework f", "bourse ps --framework f"]),
        ] {
            let tables = page.parts.iter().filter_map(|part| match part {
                Part::Table(table) if !table.rows.is_empty() => Some(table),
                _ => None,
            });
            let mut told = Vec::new();
            for table in tables {
                assert_eq!(
                    (table.rows.len(), table.left_out),
                    (PAGE, PAGE * 2),
                    "{}: {}",
                    page.title,
                    table.id
                );
                assert!(table.more().into_string().contains(&format!("{} more not shown", PAGE * 2)));
                told.push(table.all.as_str());
            }
            assert_eq!(told, commands, "{}", page.title);
        }
        assert_eq!(tasks::table("tasks", &tasks).left_out, PAGE * 2);
        assert!(agents::table(&agents[..PAGE]).more().into_string().contains("hidden"));
    }
}

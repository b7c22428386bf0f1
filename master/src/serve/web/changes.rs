//! What has changed between two looks at one page.
//!
//! Pure. Applying the [`Change`] to what was seen gives what is seen now, in this order: rows and blocks are replaced by
//! id, then each table whose order is given gets exactly these rows in this order.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use super::page::{Block, Page, Part};

/// The pieces of a page that can change, rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// What no change of pieces can mend: another one needs another page.
    edition: String,
    blocks: Vec<(String, String)>,
    tables: Vec<(String, Rows)>,
}

/// Id and element of each row, from top to bottom.
type Rows = Vec<(String, String)>;

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Id and element of each block that is new or differs.
    pub blocks: Vec<(String, String)>,
    /// The tables that differ.
    pub tables: Vec<TableChange>,
}

/// What differs in one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableChange {
    /// Of the table.
    pub id: String,
    /// The ids of all of its rows from top to bottom; `None` when it has the same rows in the same order.
    pub order: Option<Vec<String>>,
    /// Id and element of each row that is new or differs.
    pub rows: Rows,
}

impl Seen {
    /// What somebody sees of this page.
    pub fn of(edition: String, verdict: Block, page: &Page) -> Seen {
        let blocks = vec![(verdict.id.into(), verdict.html.into_string())];
        let mut seen = Seen { edition, blocks, tables: Vec::new() };
        for part in &page.parts {
            match part {
                Part::Block(block) => seen.blocks.push((block.id.into(), block.html.clone().into_string())),
                Part::Table(table) => {
                    let rows =
                        table.rows.iter().map(|row| (row.id.clone(), row.html(table.columns).into_string()));
                    seen.tables.push((table.id.into(), rows.collect()));
                    seen.blocks.push((table.more_id(), table.more().into_string()));
                }
                Part::Still(_) => {}
            }
        }
        seen
    }

    /// A name for exactly this, `SHAPE-CONTENT`: what a browser gives back to go on from here.
    pub fn token(&self) -> String {
        format!("{}-{:016x}", self.shape(), hash(self))
    }

    /// Whether a page that shows what the token names has a place for everything in this, so that a change can mend it.
    /// One that tells nothing has none to be wrong.
    pub fn fits(&self, token: &str) -> bool {
        token.is_empty() || token.split('-').next() == Some(self.shape().as_str())
    }

    fn shape(&self) -> String {
        let tables = self.tables.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>();
        format!("{:016x}", hash(&(&self.edition, ids(&self.blocks).collect::<Vec<_>>(), tables)))
    }

    /// What must be told to somebody who saw `before`; everything when that is not known. `None`: nothing.
    pub fn since(&self, before: Option<&Seen>) -> Option<Change> {
        let nothing = Seen::default();
        let old = before.unwrap_or(&nothing);
        let blocks = changed(&old.blocks, &self.blocks);
        let tables = self.tables.iter().filter_map(|(id, rows)| {
            let old = old.tables.iter().find(|(known, _)| known == id).map(|(_, rows)| rows.as_slice());
            let same_order = old.is_some_and(|old| ids(old).eq(ids(rows)));
            let differs = changed(old.unwrap_or_default(), rows);
            (!same_order || !differs.is_empty()).then(|| TableChange {
                id: id.clone(),
                order: (!same_order).then(|| ids(rows).map(str::to_owned).collect()),
                rows: differs,
            })
        });
        let change = Change { blocks, tables: tables.collect() };
        (change != Change::default()).then_some(change)
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn ids(pieces: &[(String, String)]) -> impl Iterator<Item = &str> {
    pieces.iter().map(|(id, _)| id.as_str())
}

fn changed(old: &[(String, String)], new: &[(String, String)]) -> Vec<(String, String)> {
    let old: BTreeMap<&str, &str> = old.iter().map(|(id, html)| (id.as_str(), html.as_str())).collect();
    new.iter().filter(|(id, html)| old.get(id.as_str()) != Some(&html.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the script in the browser does.
    fn apply(seen: &Seen, change: &Change) -> Seen {
        let mut seen = seen.clone();
        let put = |pieces: &mut Vec<(String, String)>, (id, html): &(String, String)| match pieces
            .iter_mut()
            .find(|(known, _)| known == id)
        {
            Some(piece) => piece.1.clone_from(html),
            None => pieces.push((id.clone(), html.clone())),
        };
        change.blocks.iter().for_each(|block| put(&mut seen.blocks, block));
        for table in &change.tables {
            if !seen.tables.iter().any(|(id, _)| *id == table.id) {
                seen.tables.push((table.id.clone(), Vec::new()));
            }
            let (_, rows) = seen.tables.iter_mut().find(|(id, _)| *id == table.id).expect("just put there");
            table.rows.iter().for_each(|row| put(rows, row));
            if let Some(order) = &table.order {
                let known: BTreeMap<String, String> = std::mem::take(rows).into_iter().collect();
                *rows = order.iter().map(|id| (id.clone(), known[id].clone())).collect();
            }
        }
        seen
    }

    fn rows() -> impl Strategy<Value = Rows> {
        proptest::collection::btree_map("[a-f]", "[xy]{1,2}", 0..6)
            .prop_flat_map(|rows| Just(rows.into_iter().collect::<Vec<_>>()).prop_shuffle())
    }

    fn seen() -> impl Strategy<Value = Seen> {
        (rows(), rows(), "[xy]").prop_map(|(one, two, block)| Seen {
            edition: String::new(),
            blocks: vec![("verdict".into(), block)],
            tables: vec![("one".into(), one), ("two".into(), two)],
        })
    }

    proptest! {
        #[test]
        fn a_change_leads_from_what_was_seen_to_what_is(before in seen(), now in seen()) {
            match now.since(Some(&before)) {
                Some(change) => prop_assert_eq!(apply(&before, &change), now),
                None => prop_assert_eq!(before, now),
            }
        }

        #[test]
        fn somebody_of_whom_nothing_is_known_is_told_everything(now in seen()) {
            let change = now.since(None).expect("there is always a verdict");
            prop_assert_eq!(apply(&Seen::default(), &change), now);
        }

        #[test]
        fn what_stayed_is_not_told(before in seen(), now in seen()) {
            let change = now.since(Some(&before)).unwrap_or_default();
            for table in &change.tables {
                let (_, old) = before.tables.iter().find(|(id, _)| *id == table.id).expect("the same tables");
                prop_assert!(table.rows.iter().all(|row| !old.contains(row)));
            }
        }

        #[test]
        fn a_token_tells_two_sights_apart_and_changes_lead_from_one_to_the_other(before in seen(), now in seen()) {
            prop_assert_eq!(before == now, before.token() == now.token());
            prop_assert!(now.fits(&before.token()));
        }
    }

    #[test]
    fn a_page_of_another_shape_or_edition_cannot_be_mended() {
        let piece = |id: &str| (id.to_owned(), String::new());
        let seen = Seen {
            edition: "1".into(),
            blocks: vec![piece("verdict")],
            tables: vec![("one".into(), vec![piece("row")])],
        };
        let others = [
            Seen { edition: "2".into(), ..seen.clone() },
            Seen { blocks: vec![piece("verdict"), piece("about")], ..seen.clone() },
            Seen { tables: vec![("two".into(), vec![piece("row")])], ..seen.clone() },
            Seen { tables: Vec::new(), ..seen.clone() },
        ];
        for other in others {
            assert!(!other.fits(&seen.token()), "{other:?}");
        }
        assert!(Seen { tables: vec![("one".into(), Vec::new())], ..seen.clone() }.fits(&seen.token()));
        assert!(!seen.fits("0123456789abcdef"), "what an older master called it");
    }
}

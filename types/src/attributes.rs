//! Attributes: what an agent is, beside what it has: its rack, its zone, the ports its firewall lets through.
//!
//! Operators give them as `rack:a;zone:b`; frameworks and constraints match on them. They are told to
//! frameworks with each offer and are never used up.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{BadRanges, Milli, Ranges};

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttributeValue {
    /// A word.
    Text(Arc<str>),
    /// A number.
    Scalar(Milli),
    /// Ranges of whole numbers.
    Ranges(Ranges),
}

/// The attributes of an agent, sorted by name. A name may occur more than once; its values then keep their
/// order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attributes(Vec<(Arc<str>, AttributeValue)>);

/// A text that cannot be attributes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAttributes {
    /// An entry without a name, a colon or a value.
    #[error("the attribute {0:?} is not name:value; write attributes as rack:a;zone:b")]
    NotAPair(String),
    /// A value in brackets that is not ranges.
    #[error("the attribute {name:?} does not hold ranges")]
    Ranges {
        /// The attribute's name.
        name: String,
        /// What is wrong with the ranges.
        #[source]
        source: BadRanges,
    },
}

impl Attributes {
    /// No attributes.
    pub const fn new() -> Attributes {
        Attributes(Vec::new())
    }

    /// Adds an attribute after those of the same name.
    pub fn insert(&mut self, name: impl AsRef<str>, value: AttributeValue) {
        let name: Arc<str> = name.as_ref().into();
        let at = self.0.partition_point(|(present, _)| *present <= name);
        self.0.insert(at, (name, value));
    }

    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.iter().find(|(present, _)| *present == name).map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &AttributeValue)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl<N: AsRef<str>> FromIterator<(N, AttributeValue)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (N, AttributeValue)>>(attributes: I) -> Attributes {
        let mut list: Vec<(Arc<str>, AttributeValue)> =
            attributes.into_iter().map(|(name, value)| (name.as_ref().into(), value)).collect();
        list.sort_by(|(left, _), (right, _)| left.cmp(right));
        Attributes(list)
    }
}

impl AttributeValue {
    /// A word.
    pub fn text(text: impl AsRef<str>) -> AttributeValue {
        AttributeValue::Text(text.as_ref().into())
    }
}

impl fmt::Display for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttributeValue::Text(text) => f.write_str(text),
            AttributeValue::Scalar(number) => fmt::Display::fmt(number, f),
            AttributeValue::Ranges(ranges) => fmt::Display::fmt(ranges, f),
        }
    }
}

/// `rack:a;zone:b`. Can be read back, but for a text that looks like a number or holds a semicolon.
impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}:{value}", if i == 0 { "" } else { ";" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `rack:a;zone:b;cores:4;open:[80-90]`. As in Mesos, what reads as a number is a scalar, what stands
/// in brackets is ranges, and everything else, sets too, is text; a value may hold colons.
impl FromStr for Attributes {
    type Err = BadAttributes;
    fn from_str(text: &str) -> Result<Attributes, BadAttributes> {
        let pairs = text.split([';', '\n']).map(str::trim).filter(|pair| !pair.is_empty());
        pairs.map(parse_pair).collect()
    }
}

fn parse_pair(pair: &str) -> Result<(&str, AttributeValue), BadAttributes> {
    let (name, value) = match pair.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            (name.trim(), value.trim())
        }
        _ => return Err(BadAttributes::NotAPair(crate::ids::shown(pair))),
    };
    if value.starts_with('[') {
        let ranges = value
            .parse()
            .map_err(|source| BadAttributes::Ranges { name: crate::ids::shown(name), source })?;
        return Ok((name, AttributeValue::Ranges(ranges)));
    }
    match value.parse() {
        Ok(number) => Ok((name, AttributeValue::Scalar(number))),
        Err(_) => Ok((name, AttributeValue::text(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_ranges_and_words_are_told_apart() {
        let attributes: Attributes =
            "rack:a; cores:4.5;open:[80-90]\nimage:http://x:1;set:{a,b}".parse().expect("valid");
        assert_eq!(attributes.get("rack"), Some(&AttributeValue::text("a")));
        assert_eq!(attributes.get("cores"), Some(&AttributeValue::Scalar(Milli::new(4_500))));
        assert_eq!(attributes.get("open"), Some(&AttributeValue::Ranges(Ranges::from(80..=90))));
        assert_eq!(attributes.get("image"), Some(&AttributeValue::text("http://x:1")));
        assert_eq!(attributes.get("set"), Some(&AttributeValue::text("{a,b}")));
        assert_eq!(attributes.get("zone"), None);
    }

    #[test]
    fn of_attributes_with_one_name_the_first_given_is_the_first_found() {
        let mut attributes: Attributes = "nic:b;nic:a;disk:ssd".parse().expect("valid");
        attributes.insert("nic", AttributeValue::text("0"));
        assert_eq!(attributes.to_string(), "disk:ssd;nic:b;nic:a;nic:0");
        assert_eq!(attributes.get("nic"), Some(&AttributeValue::text("b")));
    }

    #[test]
    fn an_entry_without_a_value_is_refused_with_an_example() {
        for text in ["rack", "rack:", ":a"] {
            assert_eq!(
                text.parse::<Attributes>().expect_err(text).to_string(),
                format!("the attribute {text:?} is not name:value; write attributes as rack:a;zone:b")
            );
        }
        assert!(matches!("p:[2-1]".parse::<Attributes>(), Err(BadAttributes::Ranges { .. })));
    }

    proptest! {
        #[test]
        fn the_text_form_round_trips(
            words in proptest::collection::vec(("[a-z]{1,4}", "[a-z:/]{0,3}[g-m]"), 0..4),
            numbers in proptest::collection::vec(("[a-z]{1,4}", 0..1_000_000u64), 0..3),
        ) {
            let words = words.iter().map(|(name, word)| (name, AttributeValue::text(word)));
            let numbers = numbers.iter().map(|(name, n)| (name, AttributeValue::Scalar(Milli::new(*n))));
            let attributes: Attributes = words.chain(numbers).collect();
            prop_assert_eq!(attributes.to_string().parse::<Attributes>(), Ok(attributes));
        }
    }
}

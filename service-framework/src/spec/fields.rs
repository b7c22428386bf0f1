//! One table of a service file, read key by key.
//!
//! A table knows all its keys beforehand: what it does not know is a problem at once, and none is ever skipped
//! silently. A value of the wrong kind is a problem too, and reads as absent, so that the rest is still checked.

use std::ops::Range;
use std::time::Duration;

use bourse_types::Milli;
use bourse_types::units;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;
use super::suggest::nearest;

/// The keys of a service file, table by table; the first is the file itself.
pub(super) const TABLES: [(&str, &[&str]); 6] = [
    (
        "",
        &[
            "name",
            "command",
            "count",
            "user",
            "role",
            "ports",
            "rootfs",
            "volumes",
            "network",
            "own_users",
            "spread",
            "max_per_agent",
            "kill_grace",
            "replace_unreachable_after",
            "resources",
            "limits",
            "env",
            "health",
            "restart",
        ],
    ),
    ("resources", &["cpus", "exclusive_cpus", "mem", "disk"]),
    ("limits", &["cpus", "mem", "cpu_burst", "swap", "pids", "io_weight", "huge_pages", "oom_score"]),
    ("health", &["http", "tcp", "command", "port", "interval", "timeout", "grace", "failures"]),
    ("restart", &["start", "factor", "max", "reset_after"]),
    ("env", &[]),
];

/// A value and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Field<'t> {
    pub(super) value: &'t DeValue<'t>,
    /// With its table, as in `health.port`.
    table: &'static str,
    key: &'static str,
    start: usize,
    end: usize,
}

impl<'t> Field<'t> {
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    /// `health.port`.
    pub(super) fn path(&self) -> String {
        if self.table.is_empty() { self.key.to_owned() } else { format!("{}.{}", self.table, self.key) }
    }

    /// Notes that this value is not what it must be.
    pub(super) fn wrong(&self, problems: &mut Problems, must: &str) {
        problems.add(self.span(), format!("{} is {}; it must be {must}", self.path(), kind_of(self.value)));
    }

    pub(super) fn text(&self, problems: &mut Problems, must: &str) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong(problems, must);
        }
        text
    }

    /// Yes or no.
    pub(super) fn truth(&self, problems: &mut Problems) -> Option<bool> {
        let read = self.value.as_bool();
        if read.is_none() {
            self.wrong(problems, "true or false");
        }
        read
    }

    /// A whole number within the range.
    pub(super) fn whole(&self, problems: &mut Problems, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let read = self.value.as_integer().and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
        let read = read.filter(|n| range.contains(n));
        if read.is_none() {
            self.wrong(problems, &format!("a whole number from {} to {}", range.start(), range.end()));
        }
        read
    }

    /// A number, whole or not, within the range.
    pub(super) fn number(&self, problems: &mut Problems, least: Milli, most: Milli) -> Option<Milli> {
        let number = match self.value {
            DeValue::Integer(n) => n.as_str().parse::<f64>().ok().filter(|_| n.radix() == 10),
            DeValue::Float(n) => n.as_str().parse::<f64>().ok(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        let read = number.and_then(|n| Milli::from_units(n).ok()).filter(|n| (least..=most).contains(n));
        if read.is_none() {
            self.wrong(problems, &format!("a number from {least} to {most}"));
        }
        read
    }

    /// An amount of memory or disk in words; MiB.
    pub(super) fn size(&self, problems: &mut Problems, least: Milli, most: Milli) -> Option<Milli> {
        let read =
            self.in_words(problems, "MiB", |text| units::parse_size(text).map_err(|bad| bad.to_string()))?;
        if !(least..=most).contains(&read) {
            let (least, most) = (units::format_size(least), units::format_size(most));
            self.wrong(problems, &format!("from {least} to {most}"));
            return None;
        }
        Some(read)
    }

    /// A duration in words.
    pub(super) fn duration(
        &self,
        problems: &mut Problems,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let read =
            self.in_words(problems, "s", |text| units::parse_duration(text).map_err(|bad| bad.to_string()))?;
        if !(least..=most).contains(&read) {
            let (least, most) = (units::format_duration(least), units::format_duration(most));
            self.wrong(problems, &format!("from {least} to {most}"));
            return None;
        }
        Some(read)
    }

    /// A quantity with its unit. A bare number is refused: nobody knows what the writer had in mind, and a wrong
    /// guess is off by a factor of a million.
    fn in_words<T>(
        &self,
        problems: &mut Problems,
        unit: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let message = match self.value {
            DeValue::String(text) => match read(text) {
                Ok(value) => return Some(value),
                Err(wrong) => format!("{}: {wrong}", self.path()),
            },
            DeValue::Integer(number) => {
                format!("{} is {number}; write its unit, in quotes: \"{number}{unit}\"", self.path())
            }
            DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                format!("{} is {}; write a text such as \"30{unit}\"", self.path(), kind_of(self.value))
            }
        };
        problems.add(self.span(), message);
        None
    }
}

/// A table whose keys have been checked.
pub(super) struct Fields<'t> {
    table: &'t DeTable<'t>,
    name: &'static str,
    span: Range<usize>,
    /// Keys that unknown ones were most likely meant to be.
    meant: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// Opens a table of [`TABLES`] and notes every key that it does not have.
    pub(super) fn open(
        name: &'static str,
        table: &'t DeTable<'t>,
        span: Range<usize>,
        problems: &mut Problems,
    ) -> Fields<'t> {
        let keys = keys_of(name);
        let mut meant = Vec::new();
        for key in table.keys().filter(|key| !keys.contains(&key.get_ref().as_ref())) {
            if problems.is_full() {
                problems.add(key.span(), "");
                continue;
            }
            meant.extend(nearest(key.get_ref(), keys));
            problems.add(key.span(), unknown_key(name, key.get_ref()));
        }
        Fields { table, name, span, meant }
    }

    /// Notes that a key is missing, unless it is there under a misspelt name: that was told already.
    pub(super) fn missing(&self, key: &'static str, problems: &mut Problems, message: &str) {
        if !self.meant.contains(&key) {
            problems.add_missing(message);
        }
    }

    pub(super) fn get(&self, key: &'static str) -> Option<Field<'t>> {
        debug_assert!(keys_of(self.name).contains(&key), "{}.{key} is not declared in TABLES", self.name);
        let (_, value) = self.table.get_key_value(key)?;
        let Range { start, end } = value.span();
        Some(Field { value: value.get_ref(), table: self.name, key, start, end })
    }

    /// Opens a table within; a value of another kind is a problem.
    pub(super) fn table(&self, name: &'static str, problems: &mut Problems) -> Option<Fields<'t>> {
        let field = self.get(name)?;
        match field.value {
            DeValue::Table(table) => Some(Fields::open(name, table, field.span(), problems)),
            _ => {
                field.wrong(problems, &format!("a table: write its keys below a line [{name}]"));
                None
            }
        }
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }
}

/// A value in the words of an error message.
pub(super) fn kind_of(value: &DeValue) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        DeValue::String(_) => "a long text".to_owned(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn keys_of(table: &str) -> &'static [&'static str] {
    TABLES.iter().find(|(name, _)| *name == table).map_or(&[], |&(_, keys)| keys)
}

fn unknown_key(table: &str, key: &str) -> String {
    let shown: String = key.chars().take(40).collect();
    let here = if table.is_empty() { String::new() } else { format!(" in [{table}]") };
    if let Some(meant) = nearest(key, keys_of(table)) {
        return format!("unknown key `{shown}`{here}; did you mean `{meant}`?");
    }
    // A right word in the wrong table is the commonest slip in TOML: what follows a [table] line belongs to it.
    let elsewhere = TABLES.iter().filter(|(name, _)| *name != table);
    let meant = elsewhere.filter_map(|&(name, keys)| Some((name, nearest(key, keys)?))).next();
    match meant {
        Some(("", meant)) => format!("unknown key `{shown}`{here}; `{meant}` stands above the first [table]"),
        Some((name, meant)) => format!("unknown key `{shown}`{here}; did you mean `{meant}` in [{name}]?"),
        None => format!("unknown key `{shown}`{here}; known are {}", keys_of(table).join(", ")),
    }
}

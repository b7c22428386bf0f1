//! How a text is read that more than one part knows. An error says what is wrong with it and what to write.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bourse_types::units;

/// An IP address with a port; the example in the error has the part's own.
pub fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address; write it as 127.0.0.1:{port} or [::1]:{port}"))
}

/// A host's name, which is anything.
pub fn hostname(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("it is empty; give a name or leave it out".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// A path as it is.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("it is empty; name a path".to_owned()) } else { Ok(PathBuf::from(text)) }
}

/// A path that means the same wherever the reader's working directory is.
pub fn absolute(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(path(text)?)
        .map_err(|error| format!("making {text:?} absolute: {error}; give an absolute path"))
}

/// `true` or `false`; `1` and `0` are what environments often say.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// A duration within these bounds.
pub fn duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = units::parse_duration(text).map_err(|error| error.to_string())?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let (from, to) = (units::format_duration(*range.start()), units::format_duration(*range.end()));
    Err(format!("{text} is out of range; choose {from} to {to}"))
}

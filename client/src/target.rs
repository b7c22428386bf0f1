//! An address as people write it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::limits::MASTER_PORT;

/// Who to call: a host, a port, and whether the writer asked for plain or TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    scheme: Option<Scheme>,
}

/// What the address said about encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http://`: in the clear.
    Http,
    /// `https://`: TLS.
    Https,
}

/// So many characters of what cannot be read are repeated.
const SHOWN_CHARS: usize = 128;

/// An address that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Nothing before the port, or nothing at all.
    #[error("{0:?} names no host; write an address such as 127.0.0.1:5050 or https://master.example:5050")]
    NoHost(String),
    /// What follows the last colon is no port.
    #[error("{text:?} has the port {port:?}; a port is a number from 1 to 65535, as in 127.0.0.1:5050")]
    Port {
        /// The whole address.
        text: String,
        /// What stands where the port should.
        port: String,
    },
    /// Something other than `http` or `https` before `://`.
    #[error("{0:?} has an unknown scheme; write host:port, http://host:port or https://host:port")]
    Scheme(String),
    /// More than host and port.
    #[error("{0:?} holds more than a host and a port; write it as host:port, without a path, user or spaces")]
    More(String),
}

impl Target {
    /// Reads `host`, `host:port`, `[v6]:port`, or one of these after `http://` or `https://`.
    pub fn parse(text: &str, default_port: u16) -> Result<Target, BadTarget> {
        let trimmed = text.trim();
        let (scheme, rest) = match trimmed.split_once("://") {
            None => (None, trimmed),
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(_) => return Err(BadTarget::Scheme(shown(text))),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@\\\"<>".contains(c)) {
            return Err(BadTarget::More(shown(text)));
        }
        let (host, port) = split_port(rest).ok_or_else(|| BadTarget::More(shown(text)))?;
        let port = match port {
            None => default_port,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => {
                    return Err(BadTarget::Port { text: shown(text), port: shown(port) });
                }
                Ok(number) => number,
            },
        };
        if host.is_empty() {
            return Err(BadTarget::NoHost(shown(text)));
        }
        Ok(Target { host: host.to_owned(), port, scheme })
    }

    /// This machine, at that port.
    pub fn loopback(port: u16) -> Target {
        Target { host: "127.0.0.1".to_owned(), port, scheme: None }
    }

    /// Name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the address said about encryption; `None` if nothing.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }

    /// Whether what is sent there stays on this machine. Names count by name only: `localhost` does, and any other name
    /// does not, whatever it resolves to today.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether both name the same listener, as far as the text tells. All names of this machine are one.
    pub fn same_as(&self, other: &Target) -> bool {
        self.port == other.port && (self.host == other.host || (self.is_loopback() && other.is_loopback()))
    }

    /// `host:port`, with brackets around IPv6.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Splits at the colon before the port, which is not one of the colons of an IPv6 address. `None`: something else stands
/// behind the brackets of that, or they have no partner.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, after)) => (host, Some(after.strip_prefix(':')?)),
        None => match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    (!host.contains(['[', ']'])).then_some((host, port))
}

/// Enough of a text to find it by.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

/// As [`Target::parse`] with the master's port as default.
impl FromStr for Target {
    type Err = BadTarget;
    fn from_str(text: &str) -> Result<Target, BadTarget> {
        Target::parse(text, MASTER_PORT)
    }
}

/// As it was written, with its port: `127.0.0.1:5050`, `https://master.example:5050`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            None => "",
            Some(Scheme::Http) => "http://",
            Some(Scheme::Https) => "https://",
        };
        write!(f, "{scheme}{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use bourse_hostile::{judged, text};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_reads_in_every_form_that_people_write() {
        for (text, shown) in [
            ("127.0.0.1:5050", "127.0.0.1:5050"),
            (" localhost ", "localhost:5050"),
            ("master.example:80", "master.example:80"),
            ("https://master.example/", "https://master.example:5050"),
            ("http://[::1]:7", "http://[::1]:7"),
            ("[::1]", "[::1]:5050"),
            ("::1", "[::1]:5050"),
        ] {
            assert_eq!(text.parse::<Target>().expect(text).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_way_to_write_one() {
        for text in [
            "",
            ":5050",
            "host:",
            "host:0",
            "host:99999",
            "ftp://host",
            "host/path",
            "a b",
            "u@host",
            "http://",
            "[::1]5050",
            "[::1",
            "[a]b]:1",
        ] {
            let error = text.parse::<Target>().expect_err(text).to_string();
            assert!(error.contains("; "), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_address_is_refused_in_words_or_reads_as_it_is_shown(
            given in prop_oneof![
                text(Just("https://master.example:5050/".to_owned())),
                text(Just("[fe80::1%eth0]:7".to_owned())),
            ],
        ) {
            if let Some(target) = judged(|| given.parse::<Target>()) {
                prop_assert_eq!(target.to_string().parse(), Ok(target));
            }
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (text, loopback) in [
            ("127.0.0.1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("localhost", true),
            ("localhost.example", false),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(text.parse::<Target>().expect(text).is_loopback(), loopback, "{text}");
        }
    }
}

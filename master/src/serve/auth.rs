//! Who calls: a token on every call.
//!
//! **What is this room for?** Reading the tokens file, and telling by the token of a call which principal makes it and
//! through which doors it may go.
//!
//! **What does it promise?** A call without a token that we know goes no further. Tokens are compared in a time that
//! does not depend on how much of them is right, and never appear in a log or an error.
//!
//! **What does it leave to others?** What a principal may do behind its door is decided by the handlers.

mod door;

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bourse_client::same_secret;
use bourse_types::{BadId, Principal};
use serde::Deserialize;
use tonic::Status;
use tracing::warn;

/// The cookie that holds the token of somebody who looks at the status page, without its port.
const COOKIE: &str = "bourse-token";

/// A token has at least so many characters: fewer could be guessed by trying.
const TOKEN_MIN: usize = 16;

/// Which doors a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sees and steers the cluster; may also run frameworks and use services, as the command line does.
    Operator,
    /// Links an agent.
    Agent,
    /// Runs a scheduler.
    Framework,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Operator => "operator",
            Kind::Agent => "agent",
            Kind::Framework => "framework",
        })
    }
}

/// Who makes a call.
#[derive(Clone)]
pub struct Caller {
    /// The name that the token stands for.
    pub principal: Principal,
    /// What it may do.
    pub kind: Kind,
    /// Shown again to an agent or a framework when the master calls it back, so that it knows its master.
    pub token: Arc<str>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.principal, self.kind)
    }
}

impl Caller {
    /// Who made this call.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
        request.extensions().get::<Caller>().cloned().ok_or_else(|| Refusal::Missing.into_status())
    }

    /// Refuses a caller whose token does not open this door.
    pub fn must_be(self, kinds: &[Kind]) -> Result<Caller, Status> {
        if kinds.contains(&self.kind) {
            return Ok(self);
        }
        let wanted = kinds.iter().map(Kind::to_string).collect::<Vec<_>>().join(" or ");
        Err(Status::permission_denied(format!(
            "principal {} has a token of kind {}; this call needs one of kind {wanted}",
            self.principal, self.kind
        )))
    }
}

/// All tokens that open anything.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    callers: Arc<[Caller]>,
}

/// The tokens file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("reading the tokens file {}; write one with [[token]] entries, or name another with tokens", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is not a list of tokens.
    #[error(
        "line {line} of the tokens file {} is not right: {why}; each entry is [[token]] with principal, token and \
         kind = \"operator\", \"agent\" or \"framework\"",
        path.display()
    )]
    Parse {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Without a piece of the file, which could be a token.
        why: String,
    },
    /// A principal's name cannot be one.
    #[error("entry {entry} of the tokens file {} has a bad principal", path.display())]
    Principal {
        /// Which.
        path: PathBuf,
        /// From 1.
        entry: usize,
        /// What is wrong with it.
        #[source]
        source: BadId,
    },
    /// Too easy to guess.
    #[error("the token of {principal} in {} is shorter than {TOKEN_MIN} characters; make a longer one", path.display())]
    TooShort {
        /// Which.
        path: PathBuf,
        /// Whose.
        principal: Principal,
    },
    /// Two principals could not be told apart.
    #[error("{first} and {second} in {} have the same token; give each its own", path.display())]
    Twice {
        /// Which.
        path: PathBuf,
        /// Whose.
        first: Principal,
        /// And whose.
        second: Principal,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    #[serde(default)]
    token: Vec<TokenEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    principal: String,
    token: String,
    kind: Kind,
}

impl Tokens {
    /// Reads the file. One that others than its owner may read is used, with a warning.
    pub fn read(path: &Path) -> Result<Tokens, TokensError> {
        let unreadable = |source| TokensError::Read { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mode = std::fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o077 != 0 {
            let mode = format!("{:o}", mode & 0o777);
            warn!(path = %path.display(), mode, "others than its owner may read the tokens file; give it mode 600");
        }
        Tokens::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Tokens, TokensError> {
        let path = || path.to_owned();
        let file: TokensFile = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            TokensError::Parse { path: path(), line, why: error.message().to_owned() }
        })?;
        let mut callers: Vec<Caller> = Vec::new();
        for (index, TokenEntry { principal, token, kind }) in file.token.into_iter().enumerate() {
            let principal = Principal::new(principal).map_err(|source| TokensError::Principal {
                path: path(),
                entry: index + 1,
                source,
            })?;
            if token.len() < TOKEN_MIN {
                return Err(TokensError::TooShort { path: path(), principal });
            }
            if let Some(twin) = callers.iter().find(|caller| *caller.token == *token) {
                let first = twin.principal.clone();
                return Err(TokensError::Twice { path: path(), first, second: principal });
            }
            callers.push(Caller { principal, kind, token: token.into() });
        }
        Ok(Tokens { callers: callers.into() })
    }

    /// Tokens that a test or `bourse dev` has made by itself.
    pub fn new(callers: impl IntoIterator<Item = Caller>) -> Tokens {
        Tokens { callers: callers.into_iter().collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.callers.len()
    }

    /// Whether nobody may call.
    pub fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// Whose token this is. Looks at all of them, so that the time tells nothing.
    fn caller(&self, token: &[u8]) -> Option<&Caller> {
        let mut found = None;
        for caller in self.callers.iter() {
            if same_secret(&*caller.token, token) {
                found = Some(caller);
            }
        }
        found
    }
}

/// Why a call goes no further.
enum Refusal {
    Missing,
    Unknown,
}

impl Refusal {
    fn text(&self) -> &'static str {
        match self {
            Refusal::Missing => {
                "this call has no token; send `authorization: Bearer TOKEN` (the command line takes it from \
                 BOURSE_TOKEN, BOURSE_TOKEN_FILE or the file that `bourse dev` wrote)"
            }
            Refusal::Unknown => {
                "the token of this call is none that this master knows; look for another one in its tokens file"
            }
        }
    }

    fn into_status(self) -> Status {
        Status::unauthenticated(self.text())
    }

    /// As gRPC where the caller speaks it, as a page for a browser, else as plain text.
    fn into_response(self, asker: Asker) -> Response {
        let mut response = match asker {
            Asker::Grpc => return self.into_status().into_http(),
            Asker::Browser => door::page(&self),
            Asker::Other => (StatusCode::UNAUTHORIZED, format!("{}\n", self.text())).into_response(),
        };
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bourse\""));
        response
    }
}

/// Who is told that a call goes no further, and in what form.
#[derive(Clone, Copy)]
enum Asker {
    Grpc,
    Browser,
    Other,
}

impl Asker {
    fn of(request: &Request) -> Asker {
        let accepts = |kind: &str| {
            let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
            accept.is_some_and(|accept| accept.contains(kind))
        };
        match is_grpc(request) {
            true => Asker::Grpc,
            false if accepts("text/html") => Asker::Browser,
            false => Asker::Other,
        }
    }
}

/// What anybody may ask: whether the master lives, in two dialects. Probes cannot carry tokens.
const OPEN: [&str; 2] = ["/health", "/grpc.health.v1.Health/Check"];

/// Lets through what has a token that we know, with the [`Caller`] among the request's extensions; [`OPEN`] needs none.
/// A browser that comes with `?token=` is sent on without it and keeps it as a cookie.
pub(super) async fn check(State(tokens): State<Tokens>, mut request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let asker = Asker::of(&request);
    if let Some(token) = query_token(request.uri().query()) {
        return match tokens.caller(token.as_bytes()) {
            Some(_) => keep_as_cookie(&request, &token),
            None => Refusal::Unknown.into_response(asker),
        };
    }
    let Some(token) = bearer(&request).or_else(|| cookie(&request)) else {
        return Refusal::Missing.into_response(asker);
    };
    let Some(caller) = tokens.caller(token).cloned() else {
        return Refusal::Unknown.into_response(asker);
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

pub(super) fn is_grpc<B>(request: &axum::http::Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn bearer(request: &Request) -> Option<&[u8]> {
    bourse_client::bearer(request.headers().get(header::AUTHORIZATION)?.as_bytes())
}

/// Browsers keep one set of cookies for all ports of a host: the name has the port that the browser asked, so that two
/// clusters on one machine do not take each other's token away.
fn cookie_name(request: &Request) -> String {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let asked = host.and_then(|host| host.parse::<Authority>().ok());
    match asked.as_ref().or(request.uri().authority()).and_then(Authority::port_u16) {
        Some(port) => format!("{COOKIE}-{port}"),
        None => COOKIE.to_owned(),
    }
}

fn cookie(request: &Request) -> Option<&[u8]> {
    let name = cookie_name(request);
    let all = request.headers().get_all(header::COOKIE).iter();
    let mut pairs = all.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// The `token` of a query. Tokens are made of characters that need no escape; one with others is not found.
fn query_token(query: Option<&str>) -> Option<String> {
    query?.split('&').find_map(|pair| pair.strip_prefix("token=")).map(str::to_owned)
}

/// Sends the browser to the same place without the token in the address, where it would be seen and kept.
fn keep_as_cookie(request: &Request, token: &str) -> Response {
    let rest =
        request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("token="));
    let rest = rest.collect::<Vec<_>>().join("&");
    // Only ever a path of ours: one that begins with two slashes would name another host.
    let path = format!("/{}", request.uri().path().trim_start_matches('/'));
    let place = if rest.is_empty() { path } else { format!("{path}?{rest}") };
    let name = cookie_name(request);
    let cookie = format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict");
    let mut response = StatusCode::SEE_OTHER.into_response();
    let (Ok(place), Ok(cookie)) = (HeaderValue::from_str(&place), HeaderValue::from_str(&cookie)) else {
        return Refusal::Unknown.into_response(Asker::Other);
    };
    response.headers_mut().insert(header::LOCATION, place);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Tokens, TokensError> {
        Tokens::parse(Path::new("tokens.toml"), text)
    }

    const TWO: &str = r#"
        [[token]]
        principal = "ops"
        token = "0123456789abcdef0"
        kind = "operator"
        [[token]]
        principal = "agents"
        token = "0123456789abcdef1"
        kind = "agent"
    "#;

    #[test]
    fn a_token_tells_its_principal_and_kind() {
        let tokens = parse(TWO).expect("valid");
        let caller = tokens.caller(b"0123456789abcdef1").expect("known");
        assert_eq!((caller.principal.as_str(), caller.kind), ("agents", Kind::Agent));
        assert!(tokens.caller(b"0123456789abcdef").is_none());
        assert!(tokens.caller(b"").is_none());
    }

    #[test]
    fn a_caller_is_printed_without_its_token() {
        let tokens = parse(TWO).expect("valid");
        assert!(!format!("{tokens:?}").contains("0123456789"));
    }

    #[test]
    fn a_tokens_file_that_is_not_right_is_refused_with_the_reason() {
        let wrong_kind =
            parse("[[token]]\nprincipal = \"a\"\ntoken = \"0123456789abcdef\"\nkind = \"root\"\n");
        assert!(matches!(wrong_kind, Err(TokensError::Parse { .. })));
        let unknown_key = parse("[[tokens]]\n");
        assert!(matches!(unknown_key, Err(TokensError::Parse { .. })));
        let short = parse("[[token]]\nprincipal = \"a\"\ntoken = \"short\"\nkind = \"agent\"\n");
        assert!(matches!(short, Err(TokensError::TooShort { .. })));
        let twice = parse(&TWO.replace("abcdef1", "abcdef0"));
        assert!(matches!(twice, Err(TokensError::Twice { .. })));
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let request = Request::builder().header("cookie", "a=b; bourse-token=secret; c=d");
        let request = request.body(axum::body::Body::empty()).expect("a request");
        assert_eq!(cookie(&request), Some(&b"secret"[..]));
    }

    #[test]
    fn two_masters_on_one_host_have_cookies_of_their_own() {
        let of = |host: &str| {
            let request = Request::builder().header("host", host);
            let request = request.header("cookie", "bourse-token-5050=one; bourse-token-6050=two");
            cookie(&request.body(axum::body::Body::empty()).expect("a request")).map(<[u8]>::to_vec)
        };
        assert_eq!(of("127.0.0.1:5050"), Some(b"one".to_vec()));
        assert_eq!(of("[::1]:6050"), Some(b"two".to_vec()));
        assert_eq!((of("127.0.0.1:7050"), of("127.0.0.1")), (None, None));
    }
}

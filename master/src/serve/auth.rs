//! Who calls: a token on every call.
//!
//! **What is this room for?** Reading the tokens file, and telling by the token of a call which principal makes it and
//! through which doors it may go.
//!
//! **What does it promise?** A call without a token that we know goes no further. Tokens are compared in a time that
//! does not depend on how much of them is right, and never appear in a log or an error.
//!
//! **What does it leave to others?** What a principal may do behind its door is decided by the handlers.

mod cookie;
mod door;

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bourse_client::{Token, same_secret};
use bourse_listener::Stranger;
use bourse_types::{BadId, Principal};
use serde::Deserialize;
use tonic::Status;
use tracing::warn;

use super::body::Account;

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
    known: Arc<[Known]>,
}

/// A caller, what its browser shows instead of its token, and what its calls hold.
struct Known {
    caller: Caller,
    cookie: String,
    account: Account,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.caller.fmt(f)
    }
}

/// What [`check_page`] needs.
#[derive(Clone)]
pub(super) struct PageGate {
    pub(super) tokens: Tokens,
    /// Whether browsers come by TLS.
    pub(super) tls: bool,
}

/// The tokens file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("reading the tokens file {}; write one with [[token]] entries, or name another with tokens", path.display())]
    Read {
        /// The file.
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
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Without a piece of the file, which could be a token.
        why: String,
    },
    /// A principal's name cannot be one.
    #[error("entry {entry} of the tokens file {} has a bad principal", path.display())]
    Principal {
        /// The file.
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
        /// The file.
        path: PathBuf,
        /// Whose.
        principal: Principal,
    },
    /// No call could carry it.
    #[error(
        "the token of {principal} in {} holds a space or another character that is not printable ASCII, and no call \
         can carry it; make another one",
        path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// Whose.
        principal: Principal,
    },
    /// Two principals could not be told apart.
    #[error("{first} and {second} in {} have the same token; give each its own", path.display())]
    Twice {
        /// The file.
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
            TokensError::Parse { path: path(), line, why: without_quotes(error.message()) }
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
            if Token::new(token.as_str()).is_err() {
                return Err(TokensError::Form { path: path(), principal });
            }
            if let Some(twin) = callers.iter().find(|caller| *caller.token == *token) {
                let first = twin.principal.clone();
                return Err(TokensError::Twice { path: path(), first, second: principal });
            }
            callers.push(Caller { principal, kind, token: token.into() });
        }
        Ok(Tokens::new(callers))
    }

    /// Tokens that a test or `bourse dev` has made by itself.
    pub fn new(callers: impl IntoIterator<Item = Caller>) -> Tokens {
        let known = callers.into_iter().map(|caller| Known {
            cookie: cookie::of_token(&caller.token),
            caller,
            account: Account::default(),
        });
        Tokens { known: known.collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody may call.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whose token this is.
    fn caller(&self, token: &[u8]) -> Option<&Known> {
        self.find(|known| same_secret(&*known.caller.token, token))
    }

    /// Whose browser shows this cookie.
    fn reader(&self, cookie: &[u8]) -> Option<&Known> {
        self.find(|known| same_secret(&known.cookie, cookie))
    }

    /// Looks at all of them, so that the time tells nothing.
    fn find(&self, is: impl Fn(&Known) -> bool) -> Option<&Known> {
        self.known.iter().fold(None, |found, known| if is(known) { Some(known) } else { found })
    }
}

/// What a parser says, up to where it quotes the file: that could be a token in the place of something else. Names of fields
/// that are missing are ours.
fn without_quotes(message: &str) -> String {
    let quotes = |c: char| matches!(c, '`' | '"' | '\'') || c.is_control();
    match message.starts_with("missing field ") {
        true => message.to_owned(),
        false => {
            message.split(quotes).next().unwrap_or_default().trim_end_matches([' ', ',', ':']).to_owned()
        }
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
                "this master does not know the token of this call; look for another one in its tokens file"
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
pub(super) async fn check(State(tokens): State<Tokens>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let shown = bearer(&request).ok_or(Refusal::Missing);
    match shown.and_then(|token| tokens.caller(token).ok_or(Refusal::Unknown)) {
        Ok(known) => admit(request, known, next).await,
        Err(refusal) => refusal.into_response(Asker::of(&request)),
    }
}

/// [`check`] for the pages, which people look at with a browser: one that comes with `?token=` is sent on without it and
/// gets a [`cookie`], by which it may look at the pages from then on. For anything but looking, and for every other
/// door, a cookie is nothing: pages that a task serves on this host could use it.
pub(super) async fn check_page(State(gate): State<PageGate>, request: Request, next: Next) -> Response {
    let asker = Asker::of(&request);
    let looks = matches!(*request.method(), Method::GET | Method::HEAD) && !matches!(asker, Asker::Grpc);
    let tokens = &gate.tokens;
    if looks && let Some(tries) = cookie::query_token(request.uri().query()) {
        return match tries.iter().find_map(|token| tokens.caller(token)) {
            Some(known) => cookie::keep(&request, &known.cookie, gate.tls),
            None => Refusal::Unknown.into_response(asker),
        };
    }
    let known = match (bearer(&request), cookie::shown(&request).filter(|_| looks)) {
        (Some(token), _) => tokens.caller(token).ok_or(Refusal::Unknown),
        (None, Some(cookie)) => tokens.reader(cookie).ok_or(Refusal::Unknown),
        (None, None) => Err(Refusal::Missing),
    };
    match known {
        Ok(known) => admit(request, known, next).await,
        Err(refusal) => refusal.into_response(asker),
    }
}

async fn admit(mut request: Request, known: &Known, next: Next) -> Response {
    if let Some(stranger) = request.extensions().get::<Arc<Stranger>>() {
        stranger.is_known_now();
    }
    request.extensions_mut().insert(known.caller.clone());
    request.extensions_mut().insert(known.account.clone());
    next.run(request).await
}

pub(super) fn is_grpc<B>(request: &axum::http::Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn bearer(request: &Request) -> Option<&[u8]> {
    bourse_client::bearer(request.headers().get(header::AUTHORIZATION)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use bourse_hostile::{judged, text as damaged_text};
    use proptest::prelude::*;
    use tonic::codegen::Service as _;

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
        let Known { caller, .. } = tokens.caller(b"0123456789abcdef1").expect("known");
        assert_eq!((caller.principal.as_str(), caller.kind), ("agents", Kind::Agent));
        assert!(tokens.caller(b"0123456789abcdef").is_none());
        assert!(tokens.caller(b"").is_none());
    }

    #[test]
    fn a_caller_is_printed_without_its_token() {
        let tokens = parse(TWO).expect("valid");
        let printed = format!("{tokens:?}");
        assert!(printed.contains("agents"), "{printed}");
        for known in tokens.known.iter() {
            assert!(!printed.contains(&*known.caller.token) && !printed.contains(&known.cookie), "{printed}");
        }
    }

    #[tokio::test]
    async fn the_listener_hears_that_a_connection_has_shown_a_token_that_we_know_and_of_no_other() {
        let tokens = parse(TWO).expect("valid");
        let page = PageGate { tokens: tokens.clone(), tls: false };
        let doors = Router::new().route("/", get(|| async {}));
        let calls = doors.clone().layer(from_fn_with_state(tokens, check));
        let pages = doors.layer(from_fn_with_state(page, check_page));
        for mut router in [calls, pages] {
            let stranger = Arc::new(Stranger::default());
            for (token, known) in [("0123456789abcdef2", false), ("0123456789abcdef1", true)] {
                let request =
                    axum::http::Request::builder().header(header::AUTHORIZATION, format!("Bearer {token}"));
                let mut request = request.body(Body::empty()).expect("a request");
                request.extensions_mut().insert(stranger.clone());
                let answered = router.call(request).await.expect("it never fails");
                assert_eq!((answered.status().is_success(), stranger.is_known()), (known, known));
            }
        }
    }

    #[test]
    fn a_token_that_stands_where_something_else_should_is_in_no_error() {
        let secret = "1234567890123456";
        for text in [
            format!("[[token]]\nprincipal = \"a\"\ntoken = {secret}\nkind = \"agent\"\n"),
            format!("[[token]]\nprincipal = \"a\"\ntoken = \"0123456789abcdef\"\nkind = \"{secret}\"\n"),
            format!("[[token]]\n{secret} = \"token\"\n"),
            format!("token = \"{secret}\"\n"),
            format!("[[token]]\ntoken = '{secret}\n"),
        ] {
            let refused = parse(&text).expect_err("it is not right").to_string();
            assert!(!refused.contains(secret), "{refused}");
            assert!(
                refused.starts_with("line ") && refused.contains("[[token]] with principal"),
                "{refused}"
            );
        }
        let missing = parse("[[token]]\nprincipal = \"a\"\n").expect_err("half an entry").to_string();
        assert!(missing.contains("missing field"), "{missing}");
    }

    proptest! {
        #[test]
        fn a_damaged_tokens_file_is_refused_in_words_or_has_tokens_that_a_call_can_carry(
            given in damaged_text(Just(TWO.to_owned())),
        ) {
            if let Some(tokens) = judged(|| parse(&given)) {
                for Known { caller, .. } in tokens.known.iter() {
                    prop_assert!(Token::new(&*caller.token).is_ok() && caller.token.len() >= TOKEN_MIN);
                }
            }
        }
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
        let spaced = parse(&TWO.replace("abcdef1", "abc def"));
        assert!(matches!(spaced, Err(TokensError::Form { .. })));
        let twice = parse(&TWO.replace("abcdef1", "abcdef0"));
        assert!(matches!(twice, Err(TokensError::Twice { .. })));
    }
}

//! A connection, and what its errors say.

use std::error::Error as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bourse_proto::agent_link::agent_api_client::AgentApiClient;
use bourse_proto::agent_link::agent_link_client::AgentLinkClient;
use bourse_proto::operator::operator_client::OperatorClient;
use bourse_proto::services::services_client::ServicesClient;
use bourse_proto::v1::scheduler::scheduler_client::SchedulerClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::limits::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MESSAGE_BYTES_MAX};
use crate::settings::{Origin, Peer, Settings};
use crate::target::Scheme;
use crate::token::{BadToken, TokenSource};

/// What generated clients are made of; cheap to clone, and all clones share one connection.
pub type Service = InterceptedService<Channel, Bearer>;

/// Adds `authorization: Bearer ...` to every call.
#[derive(Clone)]
pub struct Bearer {
    header: Option<MetadataValue<Ascii>>,
}

/// An open connection. It opens itself again when it was lost; calls in between fail.
#[derive(Clone)]
pub struct Connection {
    service: Service,
    settings: Settings,
}

/// A connection that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or not in time.
    #[error("no {peer} answers at {target} ({why}); {advice}")]
    NoAnswer {
        /// What was expected there.
        peer: Peer,
        /// The address, and where it came from unless it was given.
        target: String,
        /// What the system said.
        why: String,
        /// What to do.
        advice: &'static str,
        /// The machine is there and said that nobody listens.
        refused: bool,
    },
    /// Somebody answers, but not as expected, or the name is unknown.
    #[error("the connection to the {peer} at {target} failed: {why}; {advice}")]
    Failed {
        /// What was expected there.
        peer: Peer,
        /// The address, and where it came from unless it was given.
        target: String,
        /// The innermost cause.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// The token would be readable on the way.
    #[error(
        "a plain connection to {target} would show the token to everybody on the way; \
         use https://{authority}, or say --insecure if you mean it"
    )]
    Plain {
        /// The address as it was written.
        target: String,
        /// Its host and port.
        authority: String,
    },
    /// The certificate authority cannot be read.
    #[error(
        "the certificate authority {path:?} cannot be read; name a readable PEM file with --ca-file or BOURSE_CA_FILE"
    )]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no usable token.
    #[error(transparent)]
    Token(#[from] BadToken),
}

/// A call that failed, in words for people.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection was lost, or nobody answers any more.
    #[error("no {peer} answers at {target} ({why}); {advice}")]
    Unreachable {
        /// What was expected there.
        peer: Peer,
        /// The address, and where it came from unless it was given.
        target: String,
        /// What the system said.
        why: String,
        /// What to do.
        advice: &'static str,
        /// The answer as gRPC has it.
        status: Box<Status>,
    },
    /// The token was refused, or there was none.
    #[error("the {peer} at {target} refused the token ({token}): {}; {advice}", status.message())]
    Token {
        /// Who refused.
        peer: Peer,
        /// The address, and where it came from unless it was given.
        target: String,
        /// Where the token came from.
        token: String,
        /// What to do.
        advice: &'static str,
        /// The answer as gRPC has it.
        status: Box<Status>,
    },
    /// The other end understood and said no: its words are the error.
    #[error("{}", status.message())]
    Refused {
        /// The answer as gRPC has it.
        status: Box<Status>,
    },
}

impl ConnectError {
    /// Whether the machine is there and said that nobody listens at the port: trying again costs next to nothing, and
    /// keeps nobody from anything. Not so where nothing answered in time.
    pub fn is_refused(&self) -> bool {
        matches!(self, ConnectError::NoAnswer { refused: true, .. })
    }
}

impl Connection {
    /// Opens a connection and waits until somebody answers, at most [`Settings::connect_timeout`].
    ///
    /// Must be called within a tokio runtime. Opening a second one to the same address is allowed and shares nothing.
    pub async fn open(settings: &Settings) -> Result<Connection, ConnectError> {
        let channel = endpoint(settings)?.connect().await.map_err(|error| no_connection(settings, &error))?;
        Connection::over(settings, channel)
    }

    /// A connection that opens itself at its first call. Errors of the settings come at once, all others with the call.
    pub fn lazy(settings: &Settings) -> Result<Connection, ConnectError> {
        Connection::over(settings, endpoint(settings)?.connect_lazy())
    }

    fn over(settings: &Settings, channel: Channel) -> Result<Connection, ConnectError> {
        let bearer = Bearer::new(settings.token.as_ref())?;
        Ok(Connection { service: InterceptedService::new(channel, bearer), settings: settings.clone() })
    }

    /// For making a client that is not among those below. Set its message limits to [`MESSAGE_BYTES_MAX`].
    pub fn service(&self) -> Service {
        self.service.clone()
    }

    /// What the connection was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Calls of a framework's scheduler.
    pub fn scheduler(&self) -> SchedulerClient<Service> {
        SchedulerClient::new(self.service())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Seeing and steering the cluster.
    pub fn operator(&self) -> OperatorClient<Service> {
        OperatorClient::new(self.service())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Calls to the service framework, directly or forwarded by the master.
    pub fn services(&self) -> ServicesClient<Service> {
        ServicesClient::new(self.service())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// An agent's link to its master.
    pub fn agent_link(&self) -> AgentLinkClient<Service> {
        AgentLinkClient::new(self.service())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// What an agent answers on its own port.
    pub fn agent_api(&self) -> AgentApiClient<Service> {
        AgentApiClient::new(self.service())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// The words for a call of this connection that failed.
    pub fn explain(&self, status: Status) -> CallError {
        let (peer, target) = (self.settings.peer, shown(&self.settings));
        let status = Box::new(status);
        match status.code() {
            _ if never_answered(&status) => CallError::Unreachable {
                peer,
                target,
                why: innermost(&*status),
                advice: advice(peer),
                status,
            },
            Code::Unauthenticated => CallError::Token {
                peer,
                target,
                token: self
                    .settings
                    .token
                    .as_ref()
                    .map_or("none was sent".to_owned(), TokenSource::to_string),
                advice: "name the right one with --token-file or BOURSE_TOKEN_FILE",
                status,
            },
            _ => CallError::Refused { status },
        }
    }
}

impl CallError {
    /// The answer as gRPC has it, for its code and metadata.
    pub fn status(&self) -> &Status {
        match self {
            CallError::Unreachable { status, .. }
            | CallError::Token { status, .. }
            | CallError::Refused { status } => status,
        }
    }
}

impl Bearer {
    /// With the token as it is now; without one, calls carry none.
    pub fn new(token: Option<&TokenSource>) -> Result<Bearer, BadToken> {
        let header = match token {
            None => None,
            Some(source) => {
                let text = format!("Bearer {}", source.token()?.expose());
                let mut value = MetadataValue::try_from(text).map_err(|_| BadToken::Form)?;
                value.set_sensitive(true); // Not shown by Debug, and not kept in HTTP/2's header table.
                Some(value)
            }
        };
        Ok(Bearer { header })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.header {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// Plain or TLS, and the timeouts. A plain connection leaves this machine only if `insecure` was said.
fn endpoint(settings: &Settings) -> Result<Endpoint, ConnectError> {
    let target = &settings.target;
    let authority = target.authority();
    let tls = match target.scheme() {
        Some(Scheme::Https) => true,
        Some(Scheme::Http) if target.is_loopback() || settings.insecure => false,
        Some(Scheme::Http) => return Err(ConnectError::Plain { target: target.to_string(), authority }),
        None => settings.ca_file.is_some() || !(target.is_loopback() || settings.insecure),
    };
    let failed = |error: &tonic::transport::Error| ConnectError::Failed {
        peer: settings.peer,
        target: shown(settings),
        why: innermost(error),
        advice: "check the address and the certificate authority (--ca-file)",
    };
    let uri = format!("{}://{authority}", if tls { "https" } else { "http" });
    let endpoint = Endpoint::from_shared(uri)
        .map_err(|error| failed(&error))?
        .connect_timeout(settings.connect_timeout)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(60)));
    if !tls {
        return Ok(endpoint);
    }
    let config = match &settings.ca_file {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(path) => {
            let pem = fs::read(path).map_err(|source| ConnectError::CaFile { path: path.clone(), source })?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
    };
    endpoint.tls_config(config).map_err(|error| failed(&error))
}

/// Whether nobody has answered the call, or only a part of it: only a status that was made at this end has a source.
pub fn never_answered(status: &Status) -> bool {
    status.source().is_some()
}

/// Sorts what the transport says: nobody there, or something else in the way.
fn no_connection(settings: &Settings, error: &tonic::transport::Error) -> ConnectError {
    let (peer, target, why) = (settings.peer, shown(settings), innermost(error));
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    let kinds = || causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>().map(io::Error::kind));
    let nobody = |kind| matches!(kind, ConnectionRefused | HostUnreachable | NetworkUnreachable | TimedOut);
    if kinds().any(nobody) {
        let refused = kinds().any(|kind| kind == ConnectionRefused);
        ConnectError::NoAnswer { peer, target, why, advice: advice(peer), refused }
    } else {
        let advice = "check the address, and whether it wants TLS (https://) or plain (http://)";
        ConnectError::Failed { peer, target, why, advice }
    }
}

/// The address, and where it came from if the reader may not know.
fn shown(settings: &Settings) -> String {
    match &settings.target_from {
        Origin::Given | Origin::Default => settings.target.to_string(),
        origin => format!("{}, {origin}", settings.target),
    }
}

fn advice(peer: Peer) -> &'static str {
    match peer {
        Peer::Master => "start one with `bourse dev` or name another with --master",
        Peer::Agent => "look whether it runs, and whether its port can be reached from here",
    }
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The cause of all causes, which is the one that people understand.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut why = causes(error).last().map(ToString::to_string).unwrap_or_default();
    // "Connection refused (os error 111)": the number helps nobody.
    if let Some(at) = why.find(" (os error") {
        why.truncate(at);
    }
    match why.chars().next() {
        Some(first) if first.is_uppercase() && !why.starts_with(char::is_numeric) => {
            format!("{}{}", first.to_lowercase(), &why[first.len_utf8()..])
        }
        _ => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;
    use crate::token::Token;

    fn settings(target: &str) -> Settings {
        Settings::master(target.parse().expect("an address"))
    }

    #[tokio::test]
    async fn where_nobody_listens_the_error_says_what_to_do() {
        // A port that was ours and is closed again: nobody listens there.
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let settings = Settings::master(Target::loopback(port));
        let wanted = format!(
            "no master answers at 127.0.0.1:{port} (connection refused); \
             start one with `bourse dev` or name another with --master"
        );
        let Err(error) = Connection::open(&settings).await else { panic!("nobody listens there") };
        assert_eq!((error.to_string(), error.is_refused()), (wanted.clone(), true));

        let connection = Connection::lazy(&settings).expect("good settings");
        let status = connection.operator().get_cluster(bourse_proto::operator::GetClusterRequest {}).await;
        assert_eq!(connection.explain(status.expect_err("nobody listens there")).to_string(), wanted);
    }

    #[tokio::test]
    async fn a_token_does_not_leave_this_machine_in_the_clear_unless_somebody_says_insecure() {
        let Err(error) = Connection::lazy(&settings("http://10.1.2.3:5050")) else {
            panic!("plain to another machine")
        };
        assert!(matches!(error, ConnectError::Plain { .. }), "{error}");
        assert!(error.to_string().contains("https://10.1.2.3:5050"), "{error}");
        let insecure = Settings { insecure: true, ..settings("http://10.1.2.3:5050") };
        assert!(Connection::lazy(&insecure).is_ok());
        assert_eq!(endpoint(&settings("10.1.2.3:5050")).expect("TLS").uri().scheme_str(), Some("https"));
        assert_eq!(endpoint(&settings("127.0.0.1")).expect("plain").uri().scheme_str(), Some("http"));
    }

    #[test]
    fn every_call_carries_the_token_and_nothing_shows_it() {
        let source = TokenSource::Text(Token::new("s3cret").expect("valid"));
        let mut bearer = Bearer::new(Some(&source)).expect("a header");
        let request = bearer.call(Request::new(())).expect("passes");
        assert_eq!(
            request.metadata().get("authorization").map(|v| v.as_bytes()),
            Some(&b"Bearer s3cret"[..])
        );
        assert!(!format!("{request:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_refusal_keeps_the_words_of_the_other_end() {
        let connection = Connection::lazy(&settings("127.0.0.1")).expect("good settings");
        let refused =
            connection.explain(Status::not_found("no task has the id x; list them with `bourse ps`"));
        assert_eq!(refused.to_string(), "no task has the id x; list them with `bourse ps`");
        assert_eq!(
            connection.explain(Status::unauthenticated("it is unknown")).to_string(),
            "the master at 127.0.0.1:5050 refused the token (none was sent): it is unknown; \
             name the right one with --token-file or BOURSE_TOKEN_FILE"
        );
    }
}

//! Who may call what.

use std::path::Path;
use std::sync::Arc;

use bourse_client::token::{Token, TokenSource};
use bourse_client::{Connection, Settings};
use bourse_master::config::TlsFiles;
use bourse_proto::operator::GetClusterRequest;
use bourse_proto::services as wire;
use bourse_proto::v1;
use bourse_proto::v1::scheduler::call::Type;
use prost_reflect::DescriptorPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::{Code, Status};

use crate::harness::*;
use crate::stage::{FakeServices, services_api, services_api_by_tls};

/// A plain HTTP/1.1 request; the whole answer as text.
pub async fn get(cluster: &Cluster, path: &str, headers: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(cluster.target().authority()).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("an answer");
    answer
}

/// What a browser that came with this token shows from then on, as `name=value`.
pub async fn cookie(cluster: &Cluster, token: &str) -> String {
    let answer = get(cluster, &format!("/?token={token}"), "").await;
    let mut lines = answer.lines().filter_map(|line| line.split_once(": "));
    let set = lines.find(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let (_, value) = set.unwrap_or_else(|| panic!("no cookie is set by {answer}"));
    value.split(';').next().expect("the first part").to_owned()
}

/// Calls an empty message of a method of gRPC, by HTTP/1.1 as a page of a browser could; the status code in the headers.
async fn post(cluster: &Cluster, method: &str, headers: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(cluster.target().authority()).await.expect("it listens");
    let request = format!(
        "POST {method} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 5\r\n{headers}\r\n\0\0\0\0\0"
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_call_without_a_known_token_is_unauthenticated_whatever_it_asks() {
    let cluster = Cluster::start().await;
    let without = Connection::open(&Settings::master(cluster.target())).await.expect("it answers");
    let refused = without.operator().get_cluster(GetClusterRequest {}).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("BOURSE_TOKEN"), "{}", refused.message());

    let wrong = cluster.connect("a-token-that-nobody-has").await;
    let refused = wrong.operator().get_cluster(GetClusterRequest {}).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(!refused.message().contains("nobody-has"));

    assert!(get(&cluster, "/metrics", "").await.starts_with("HTTP/1.1 401 "));
    assert!(get(&cluster, "/anything", "").await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn only_a_health_probe_needs_no_token() {
    let cluster = Cluster::start().await;
    assert!(get(&cluster, "/health", "").await.starts_with("HTTP/1.1 200 "));
    let grpc = "Content-Type: application/grpc\r\n";
    let probe = post(&cluster, "/grpc.health.v1.Health/Check", grpc).await;
    assert!(probe.starts_with("HTTP/1.1 200 ") && !probe.contains("grpc-status: 16"), "{probe}");

    let pool = DescriptorPool::decode(bourse_proto::FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let ours = pool.services().flat_map(|service| {
        let methods = service.methods().map(|method| format!("/{}/{}", service.full_name(), method.name()));
        methods.collect::<Vec<_>>()
    });
    let ours = ours.collect::<Vec<_>>();
    assert!(ours.len() > 20, "{ours:?}");
    let others = [
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/no.such.Service/Method",
    ];
    for method in ours.iter().map(String::as_str).chain(others) {
        let answer = post(&cluster, method, grpc).await;
        assert!(answer.contains("grpc-status: 16"), "{method}: {answer}");
    }

    // Routes cannot be asked for their paths: they are read where they are written.
    let written = concat!(include_str!("../../src/serve.rs"), include_str!("../../src/serve/web.rs"));
    let routes = written.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let routes = routes.filter(|route| *route != "/health").collect::<Vec<_>>();
    assert!(routes.len() > 15, "{routes:?}");
    for route in routes.into_iter().chain(["/nothing"]) {
        let path = route.replace(['{', '}'], "");
        let answer = get(&cluster, &path, "").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn each_kind_of_token_opens_its_own_doors_only() {
    let cluster = Cluster::start().await;
    for token in [AGENT, FRAMEWORK] {
        let refused = cluster.connect(token).await.operator().get_cluster(GetClusterRequest {}).await;
        let refused = refused.expect_err("not an operator");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("needs one of kind operator"), "{}", refused.message());
        let refused =
            cluster.connect(token).await.services().list(wire::ListServicesRequest::default()).await;
        assert_eq!(refused.expect_err("not an operator").code(), Code::PermissionDenied);
    }
    for token in [OPERATOR, FRAMEWORK] {
        let refused = open_link(&cluster, token).await.expect_err("not an agent");
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    let refused =
        FakeScheduler::subscribe(&cluster, AGENT, framework_info("batch")).await.err().expect("an agent");
    assert_eq!(refused.code(), Code::PermissionDenied);
    // The command line runs tasks by an operator's token.
    FakeScheduler::subscribe(&cluster, OPERATOR, framework_info("run")).await.expect("admitted");
}

#[tokio::test]
async fn a_framework_and_its_subscription_belong_to_the_principal_that_made_them() {
    let cluster = Cluster::start().await;
    let scheduler = cluster.scheduler("batch").await;
    let rival = cluster.connect(OTHER_FRAMEWORK).await;
    let refused = scheduler.call_as(&rival, scheduler.blank(Type::Teardown)).await.expect_err("not its own");
    assert_eq!(refused.code(), Code::PermissionDenied);

    let mut info = framework_info("batch");
    info.id = Some(framework_id(&scheduler.framework));
    let refused =
        FakeScheduler::subscribe(&cluster, OTHER_FRAMEWORK, info.clone()).await.err().expect("not its own");
    assert_eq!(refused.code(), Code::PermissionDenied);

    let mut lying = framework_info("batch");
    lying.principal = Some("batch".to_owned());
    let refused =
        FakeScheduler::subscribe(&cluster, OTHER_FRAMEWORK, lying).await.err().expect("not its name");
    assert_eq!(refused.code(), Code::InvalidArgument);

    FakeScheduler::subscribe(&cluster, FRAMEWORK, info).await.expect("its owner takes it over");
}

#[tokio::test]
async fn a_browser_that_comes_with_a_token_gets_a_cookie_and_keeps_no_token() {
    let mut cluster = Cluster::start().await;
    let answer = get(&cluster, &format!("/agents?token={OPERATOR}&x=1"), "").await;
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    let lower = answer.to_lowercase();
    assert!(lower.contains("location: /agents?x=1\r\n"), "{answer}");
    assert!(lower.contains("; path=/; httponly; samesite=lax\r\n"), "{answer}");
    assert!(!answer.contains(OPERATOR), "{answer}");
    let headers = format!("Cookie: {}\r\n", cookie(&cluster, OPERATOR).await);
    assert!(get(&cluster, "/agents", &headers).await.starts_with("HTTP/1.1 200 "));
    assert!(get(&cluster, "/no/such/page", &headers).await.starts_with("HTTP/1.1 404 "));
    assert!(get(&cluster, "/agents?token=wrong-wrong-wrong-wrong", "").await.starts_with("HTTP/1.1 401 "));
    // Another host's address is never answered with.
    let elsewhere = get(&cluster, &format!("//evil.example/?token={OPERATOR}"), "").await.to_lowercase();
    assert!(!elsewhere.contains("location: //"), "{elsewhere}");
    // A page that is open goes on after a restart.
    cluster.kill_and_restart().await;
    assert!(get(&cluster, "/agents", &headers).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_cookie_can_only_look_at_pages() {
    let cluster = Cluster::start().await;
    let cookie = cookie(&cluster, OPERATOR).await;
    let value = cookie.split_once('=').expect("a pair").1;
    let headers = format!("Cookie: {cookie}\r\n");
    for kind in ["application/grpc", "text/plain"] {
        let headers = format!("{headers}Content-Type: {kind}\r\n");
        let answer = post(&cluster, "/bourse.operator.v1.Operator/GetCluster", &headers).await;
        assert!(
            answer.contains("grpc-status: 16") || answer.starts_with("HTTP/1.1 401 "),
            "{kind}: {answer}"
        );
    }
    for path in ["/", "/agents", "/nothing"] {
        let answer = post(&cluster, path, &headers).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
    assert!(get(&cluster, "/metrics", &headers).await.starts_with("HTTP/1.1 401 "));
    let as_token = format!("Authorization: Bearer {value}\r\n");
    assert!(get(&cluster, "/metrics", &as_token).await.starts_with("HTTP/1.1 401 "));
    // Nor is a token a cookie.
    let swapped = format!("Cookie: bourse-page={OPERATOR}\r\n");
    assert!(get(&cluster, "/agents", &swapped).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test]
async fn a_token_with_characters_that_an_address_escapes_opens_the_page_as_typed_and_as_linked() {
    const ODD: &str = "plus+slash/equals=%41;semicolon";
    let cluster = Cluster::start_with(|config| {
        let entry = format!("[[token]]\nprincipal = \"odd\"\ntoken = \"{ODD}\"\nkind = \"operator\"\n");
        std::fs::write(&config.tokens, entry).expect("writing the tokens");
    })
    .await;
    for query in [ODD, "plus%2Bslash%2Fequals%3D%2541%3Bsemicolon"] {
        let answer = get(&cluster, &format!("/?token={query}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 303 "), "{query}: {answer}");
    }
}

#[tokio::test]
async fn a_browser_without_a_token_is_told_how_to_get_one() {
    let cluster = Cluster::start().await;
    let browser = "Accept: text/html,application/xhtml+xml\r\n";
    for path in ["/agents", "/?token=wrong-wrong-wrong-wrong"] {
        let answer = get(&cluster, path, browser).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        for text in ["text/html", "bourse dev", "<form", "default-src 'none'"] {
            assert!(answer.contains(text), "{path}: {text} is not in {answer}");
        }
        assert!(!answer.contains("wrong-wrong"), "{answer}");
    }
    let script = get(&cluster, "/agents", "").await;
    assert!(script.starts_with("HTTP/1.1 401 ") && !script.contains("<html"), "{script}");
}

#[tokio::test]
async fn an_unknown_path_is_not_found_and_an_unknown_method_is_unimplemented() {
    let cluster = Cluster::start().await;
    let bearer = format!("Authorization: Bearer {OPERATOR}\r\n");
    assert!(get(&cluster, "/no/such/page", &bearer).await.starts_with("HTTP/1.1 404 "));
    let grpc = format!("{bearer}Content-Type: application/grpc\r\n");
    let answer = get(&cluster, "/bourse.operator.v1.Operator/Nothing", &grpc).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("grpc-status: 12"), "{answer}");
}

/// A certificate for this machine that is its own authority.
fn self_signed(dir: &Path) -> (TlsFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (TlsFiles { cert, key }, made.cert.der().clone())
}

/// Lists the services of a framework that says its API is at this address, by a master that has an authority.
async fn services_at(address: &str, tls_ca: &Path) -> Result<wire::ListServicesResponse, Status> {
    let cluster = Cluster::start_with(|config| config.tls_ca = Some(tls_ca.to_owned())).await;
    let label = v1::Label { key: Some("bourse-api".to_owned()), value: Some(address.to_owned()) };
    let info =
        v1::FrameworkInfo { labels: Some(v1::Labels { labels: vec![label] }), ..framework_info("services") };
    let _scheduler = FakeScheduler::subscribe(&cluster, FRAMEWORK, info).await.expect("admitted");
    let connection = cluster.connect(OPERATOR).await;
    let listed = within(connection.services().list(wire::ListServicesRequest::default())).await;
    listed.map(|answer| answer.into_inner())
}

#[tokio::test]
async fn what_listens_on_loopback_is_called_in_plain_text_though_there_is_an_authority_for_the_others() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (files, _) = self_signed(dir.path());
    let api = services_api(FakeServices::default()).await;
    services_at(&api.address, &files.cert).await.expect("it is called as it listens");
}

#[tokio::test]
async fn whoever_is_called_back_by_tls_has_to_show_a_certificate_of_the_authority() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (files, _) = self_signed(dir.path());
    let api = services_api_by_tls(FakeServices::default(), &files).await;
    let address = format!("https://{}", api.address);
    services_at(&address, &files.cert).await.expect("its authority is ours");

    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let (others, _) = self_signed(elsewhere.path());
    let refused = services_at(&address, &others.cert).await.expect_err("somebody else's authority");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("cannot be called back"), "{}", refused.message());
}

#[tokio::test]
async fn with_a_certificate_every_door_speaks_tls() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (files, certificate) = self_signed(dir.path());
    let cert = files.cert.clone();
    let cluster = Cluster::start_with(|config| config.tls = Some(files)).await;

    let token = TokenSource::Text(Token::new(OPERATOR).expect("a token"));
    let mut settings = Settings::master(cluster.target()).with_token(token);
    settings.ca_file = Some(cert);
    let connection = within(Connection::open(&settings)).await.expect("it speaks TLS");
    within(connection.operator().get_cluster(GetClusterRequest {})).await.expect("an answer");

    // A cookie that came by TLS never goes without.
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(cluster.target().authority()).await.expect("it listens");
    let host = ServerName::try_from("127.0.0.1").expect("an address");
    let mut stream = TlsConnector::from(Arc::new(client)).connect(host, stream).await.expect("TLS");
    let request = format!("GET /?token={OPERATOR} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(answer.contains("samesite=lax; secure\r\n"), "{answer}");

    // Whoever speaks plainly is not understood.
    let mut stream = tokio::net::TcpStream::connect(cluster.target().authority()).await.expect("it listens");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

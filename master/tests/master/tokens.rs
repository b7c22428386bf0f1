//! Who may call what.

use bourse_client::token::{Token, TokenSource};
use bourse_client::{Connection, Settings};
use bourse_master::config::TlsFiles;
use bourse_proto::operator::GetClusterRequest;
use bourse_proto::v1::scheduler::call::Type;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use crate::harness::*;

/// A plain HTTP/1.1 request; the whole answer as text.
pub async fn get(cluster: &Cluster, path: &str, headers: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(cluster.target().authority()).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.expect("an answer");
    answer
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
async fn only_health_needs_no_token() {
    let cluster = Cluster::start().await;
    assert!(get(&cluster, "/health", "").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn each_kind_of_token_opens_its_own_doors_only() {
    let cluster = Cluster::start().await;
    for token in [AGENT, FRAMEWORK] {
        let refused = cluster.connect(token).await.operator().get_cluster(GetClusterRequest {}).await;
        let refused = refused.expect_err("not an operator");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("needs one of kind operator"), "{}", refused.message());
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
async fn a_browser_that_comes_with_a_token_keeps_it_as_a_cookie_and_not_in_the_address() {
    let cluster = Cluster::start().await;
    let answer = get(&cluster, &format!("/metrics?token={OPERATOR}&x=1"), "").await;
    assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
    let answer = answer.to_lowercase();
    assert!(answer.contains("location: /metrics?x=1\r\n"), "{answer}");
    assert!(
        answer.contains(&format!("set-cookie: bourse-token={OPERATOR}; path=/; httponly; samesite=strict"))
    );
    let with_cookie = get(&cluster, "/metrics", &format!("Cookie: bourse-token={OPERATOR}\r\n")).await;
    assert!(with_cookie.starts_with("HTTP/1.1 200 "));
    assert!(get(&cluster, "/metrics?token=wrong-wrong-wrong-wrong", "").await.starts_with("HTTP/1.1 401 "));
    // Another host's address is never answered with.
    let elsewhere = get(&cluster, &format!("//evil.example/?token={OPERATOR}"), "").await.to_lowercase();
    assert!(!elsewhere.contains("location: //"), "{elsewhere}");
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

#[tokio::test]
async fn with_a_certificate_every_door_speaks_tls() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let files = TlsFiles { cert: cert.clone(), key };
    let cluster = Cluster::start_with(|config| config.tls = Some(files)).await;

    let token = TokenSource::Text(Token::new(OPERATOR).expect("a token"));
    let mut settings = Settings::master(cluster.target()).with_token(token);
    settings.ca_file = Some(cert);
    let connection = within(Connection::open(&settings)).await.expect("it speaks TLS");
    within(connection.operator().get_cluster(GetClusterRequest {})).await.expect("an answer");

    // Whoever speaks plainly is not understood.
    let mut stream = tokio::net::TcpStream::connect(cluster.target().authority()).await.expect("it listens");
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

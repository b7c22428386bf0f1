use bourse_client::{Connection, Settings, Target, Token, TokenSource};
use bourse_proto::agent_link::{LogStream, ReadLogRequest};
use bourse_proto::v1::TaskState::*;

use crate::lab::{FRAMEWORK, Lab, TOKEN, shell, text};

#[tokio::test]
async fn with_a_certificate_the_api_speaks_tls_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let flags = [format!("--tls-cert={}", cert.display()), format!("--tls-key={}", key.display())];
    let lab = Lab::with(&["--advertise=127.0.0.1:0", &flags[0], &flags[1]]).await;
    lab.run(&shell("t1", "echo hello"));
    lab.until_state("t1", TaskFinished).await;

    let address = lab.master.registrations()[0].address.clone();
    let request = || ReadLogRequest {
        framework_id: FRAMEWORK.into(),
        task_id: "t1".into(),
        stream: LogStream::Stdout.into(),
        ..Default::default()
    };
    let token = || TokenSource::Text(Token::new(TOKEN).expect("a token"));
    let target = Target::parse(&format!("https://{address}"), 5051).expect("an address");
    let settings = Settings { ca_file: Some(cert), ..Settings::agent(target).with_token(token()) };
    let connection = Connection::open(&settings).await.expect("it answers");
    let mut log = connection.agent_api().read_log(request()).await.expect("a log").into_inner();
    let mut chunks = Vec::new();
    while let Some(chunk) = log.message().await.expect("whole") {
        chunks.push(chunk);
    }
    assert_eq!(text(&chunks), "hello\n");

    let plain = Target::parse(&format!("http://{address}"), 5051).expect("an address");
    let settings = Settings::agent(plain).with_token(token());
    let answered = match Connection::open(&settings).await {
        Ok(connection) => connection.agent_api().read_log(request()).await.is_ok(),
        Err(_) => false,
    };
    assert!(!answered, "nothing is read without TLS");
    lab.clean().await;
}

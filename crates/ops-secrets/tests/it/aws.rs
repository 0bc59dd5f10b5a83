//! Secrets Manager and the Parameter Store, as moto plays them: a stand-in, which checks no signature.

use crate::support::{Settings, everything_printable, loader, vars};
use ops_secrets::aws::Aws;
use ops_secrets::{Error, ErrorKind, Loaded, References};
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// moto's server, ended with the test.
struct Moto {
    child: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    fn start() -> Option<Self> {
        let folder = ops_testkit::tools_dir().join("moto");
        if !folder.join("moto").is_dir() {
            return None;
        }
        let port = ops_testkit::free_port().unwrap();
        let child = Command::new("python3")
            .args(["-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", &port.to_string()])
            .env("PYTHONPATH", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Self { child, port };
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(moto);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("moto does not listen");
    }

    fn call(&self, target: &str, body: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let service = if target.starts_with("Amazon") { "ssm" } else { "secretsmanager" };
        let scope =
            format!("AWS4-HMAC-SHA256 Credential=A/20261121/eu-west-1/{service}/aws4_request, Signature=x");
        let head = format!(
            "POST / HTTP/1.0\r\nHost: localhost\r\nX-Amz-Target: {target}\r\nAuthorization: {scope}\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    }
}

fn variables(port: u16) -> Vec<(OsString, OsString)> {
    vars([
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2-of-aws"),
        ("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{port}")),
    ])
}

async fn load(text: &str, variables: Vec<(OsString, OsString)>) -> Result<Loaded<Settings>, Error> {
    let aws = Aws::from_vars(variables).unwrap();
    assert!(!format!("{aws:?}").contains("hunter2"));
    let references = References::new().fetcher(Arc::new(aws));
    loader().flag("password", text, "--password").references(references).load_async().await
}

async fn check_refused(text: &str, variables: Vec<(OsString, OsString)>, kind: ErrorKind, expected: &str) {
    let result = load(text, variables).await;
    let printed = everything_printable(&result);
    assert!(!printed.contains("hunter"), "{printed}");
    let error = result.unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(error.kind(), kind, "{error}");
}

#[tokio::test]
async fn secrets_and_parameters_of_a_stand_in_for_aws() {
    let Some(moto) = Moto::start() else { ops_testkit::skip!("moto is not installed") };
    let fields = r#"{"Name": "prod/db", "SecretString": "{\"user\": \"me\", \"password\": \"hunter3\", \"port\": 1}"}"#;
    moto.call("secretsmanager.CreateSecret", fields);
    moto.call("secretsmanager.CreateSecret", r#"{"Name": "plain", "SecretString": "hunter4"}"#);
    moto.call("secretsmanager.PutSecretValue", r#"{"SecretId": "plain", "SecretString": "hunter5"}"#);
    moto.call("secretsmanager.CreateSecret", r#"{"Name": "binary", "SecretBinary": "aHVudGVyMg=="}"#);
    moto.call("secretsmanager.CreateSecret", r#"{"Name": "going", "SecretString": "hunter6"}"#);
    moto.call("secretsmanager.DeleteSecret", r#"{"SecretId": "going"}"#);
    moto.call(
        "AmazonSSM.PutParameter",
        r#"{"Name": "/prod/key", "Type": "SecureString", "Value": "hunter7"}"#,
    );
    let update = r#"{"Name": "/prod/key", "Type": "SecureString", "Value": "hunter8", "Overwrite": true}"#;
    moto.call("AmazonSSM.PutParameter", update);

    for (text, expected, source) in [
        ("aws-sm://prod/db#password", "hunter3", "aws-sm://prod/db#password (version AWSCURRENT)"),
        ("aws-sm://plain", "hunter5", "aws-sm://plain (version AWSCURRENT)"),
        (
            "aws-sm://plain?version=AWSPREVIOUS",
            "hunter4",
            "aws-sm://plain?version=AWSPREVIOUS (version AWSPREVIOUS)",
        ),
        // Without decryption the stand-in answers `kms:…:hunter8`, as AWS answers with the ciphertext.
        ("aws-ssm:///prod/key", "hunter8", "aws-ssm:///prod/key (version 2)"),
        ("aws-ssm:///prod/key?version=1", "hunter7", "aws-ssm:///prod/key?version=1 (version 1)"),
    ] {
        let loaded = load(text, variables(moto.port)).await.unwrap();
        assert_eq!(loaded.settings.password.expose_secret(), expected, "{text}");
        assert_eq!(loaded.report.entries()[1].source, format!("flag --password -> {source}"));
        assert!(!everything_printable(&Ok(loaded)).contains("hunter"));
    }
    for (text, kind, expected) in [
        ("aws-sm://none", ErrorKind::NotFound, "aws-sm://none: there is no such secret"),
        ("aws-ssm:///none", ErrorKind::NotFound, "aws-ssm:///none: there is no such secret"),
        ("aws-sm://going", ErrorKind::NotFound, "the secret is marked for deletion"),
        ("aws-sm://binary", ErrorKind::InvalidValue, "the secret is binary, expected text"),
        ("aws-sm://prod/db#pasword", ErrorKind::MissingField, "did you mean `password`?"),
        ("aws-sm://prod/db#port", ErrorKind::InvalidValue, "the field is a number, expected text"),
        ("aws-sm://plain#x", ErrorKind::MissingField, "it is no JSON object"),
    ] {
        check_refused(text, variables(moto.port), kind, expected).await;
    }
}

#[tokio::test]
async fn what_is_missing_for_aws_is_told() {
    let nowhere = ops_testkit::free_port().unwrap();
    let unreachable = "the service cannot be reached";
    check_refused("aws-sm://x", variables(nowhere), ErrorKind::Unreachable, unreachable).await;
    let mut without_region = variables(nowhere);
    without_region.remove(0);
    let no_region = "no region is known: set AWS_REGION, or name the secret by its ARN";
    check_refused("aws-sm://x", without_region.clone(), ErrorKind::UnresolvedReference, no_region).await;
    let arn = "aws-sm://arn:aws:secretsmanager:eu-west-1:123456789012:secret:x";
    check_refused(arn, without_region, ErrorKind::Unreachable, unreachable).await;
    let mut odd = variables(nowhere);
    odd.push(("AWS_SESSION_TOKEN".into(), "hunter2\n".into()));
    check_refused("aws-sm://x", odd, ErrorKind::Forbidden, "characters that cannot be sent").await;
}

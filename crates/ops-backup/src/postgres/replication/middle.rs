//! Whoever stands in the middle: channel binding of both kinds of session, against a server and against a relay that speaks
//! TLS with either side.

use std::path::Path;
use std::sync::Arc;

use ops_testkit::Postgres;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};

use super::live::{allow, make_certificate, reload, settings, shown, with_tls};
use super::*;
use crate::postgres::session::Session;

const PASSWORD: &str = "SENTINEL p%w";

fn url(port: u16, binding: &str) -> ConnectionSettings {
    let text = format!(
        "host=localhost hostaddr=127.0.0.1 port={port} user=scram dbname=postgres sslmode=require channel_binding={binding}"
    );
    settings(&text).with_password(PASSWORD.into())
}

/// What a session of replication and an ordinary one come to.
async fn outcomes(settings: &ConnectionSettings) -> [Result<(), String>; 2] {
    let replication = Replication::connect(settings).await.map(drop);
    let ordinary = Session::connect(settings).await.map(drop);
    [replication, ordinary].map(|outcome| outcome.map_err(|error| shown(&error)))
}

fn server() -> Postgres {
    let server = Postgres::start().unwrap();
    server.psql(&format!("CREATE ROLE scram LOGIN REPLICATION PASSWORD '{PASSWORD}'")).unwrap();
    server
}

const RULES: &str = "host all,replication scram 127.0.0.1/32 scram-sha-256";

/// The server reckons its hash by OpenSSL: where the two differ, it lets nobody in.
#[tokio::test]
async fn the_proof_is_bound_to_a_certificate_of_each_kind() {
    let server = server();
    let curve = |name: &'static str| ["-newkey", "ec", "-pkeyopt", name];
    let (p256, p384) = (curve("ec_paramgen_curve:P-256"), curve("ec_paramgen_curve:P-384"));
    let rsa = ["-newkey", "rsa:2048"];
    let pss = ["-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"];
    let kinds: [(&[&str], &str, bool); 10] = [
        (&rsa, "-sha1", true),
        (&rsa, "-sha224", true),
        (&rsa, "-sha256", true),
        (&rsa, "-sha384", true),
        (&rsa, "-sha512", true),
        (&pss, "-sha384", true),
        (&p256, "-sha256", true),
        (&p384, "-sha384", true),
        (&p256, "-sha512", true),
        (&["-newkey", "ed25519"], "-sha256", false),
    ];
    for (how, hash, binds) in kinds {
        if with_tls(&server, &[how, &[hash]].concat()).is_none() {
            ops_testkit::skip!("openssl is not installed");
        }
        allow(&server, RULES);
        for (binding, expected) in [("require", binds), ("prefer", true), ("disable", true)] {
            for outcome in outcomes(&url(server.port(), binding)).await {
                assert_eq!(outcome.is_ok(), expected, "{how:?} {hash} {binding}: {outcome:?}");
            }
        }
    }
}

/// Stands between `server` and whoever connects, with a certificate of its own. `strips` takes the binding out of what the
/// server offers.
async fn relay(server: u16, certificate: &Path, key: &Path, strips: bool) -> u16 {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut request = [0; 8];
                client.read_exact(&mut request).await.unwrap();
                client.write_all(b"S").await.unwrap();
                let mut client = acceptor.accept(client).await.unwrap();
                let mut onward = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                onward.write_all(&request).await.unwrap();
                onward.read_exact(&mut request[..1]).await.unwrap();
                let mut tls = url(server, "disable").tls().unwrap();
                let Ok(tls) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, "localhost");
                let mut onward = tls.connect(onward).await.unwrap();
                // The startup message, and the first of the server's: what it offers.
                let mut startup = vec![0; client.read_u32().await.unwrap() as usize - 4];
                client.read_exact(&mut startup).await.unwrap();
                onward.write_u32(startup.len() as u32 + 4).await.unwrap();
                onward.write_all(&startup).await.unwrap();
                onward.flush().await.unwrap();
                assert_eq!(onward.read_u8().await.unwrap(), b'R');
                let mut offer = vec![0; onward.read_u32().await.unwrap() as usize - 4];
                onward.read_exact(&mut offer).await.unwrap();
                assert_eq!(offer, b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
                if strips {
                    offer = b"\0\0\0\x0aSCRAM-SHA-256\0\0".to_vec();
                }
                client.write_u8(b'R').await.unwrap();
                client.write_u32(offer.len() as u32 + 4).await.unwrap();
                client.write_all(&offer).await.unwrap();
                client.flush().await.unwrap();
                _ = tokio::io::copy_bidirectional(&mut client, &mut onward).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_proof_that_is_passed_on_does_not_open_the_server() {
    let server = server();
    let rsa = ["-newkey", "rsa:2048"];
    if with_tls(&server, &rsa).is_none() {
        ops_testkit::skip!("openssl is not installed");
    }
    allow(&server, RULES);
    reload(&server);
    let own = tempfile::tempdir().unwrap();
    let (certificate, key) = make_certificate(own.path(), &rsa).unwrap();
    for (strips, binding, expected) in [
        // Without it, the one in the middle is let in with our proof.
        (false, "disable", None),
        (true, "disable", None),
        (false, "prefer", Some("channel binding check failed")),
        (false, "require", Some("channel binding check failed")),
        // The server hears that we would have, and knows that it did offer it.
        (true, "prefer", Some("channel binding negotiation error")),
        (true, "require", Some("channel_binding is require, and")),
    ] {
        let port = relay(server.port(), &certificate, &key, strips).await;
        let [replication, ordinary] = outcomes(&url(port, binding)).await;
        let Some(expected) = expected else {
            assert_eq!((replication, ordinary), (Ok(()), Ok(())), "{strips} {binding}");
            continue;
        };
        let text = replication.unwrap_err();
        assert!(text.contains(expected) && !text.contains("SENTINEL"), "{strips} {binding}: {text}");
        let text = ordinary.unwrap_err();
        assert!(text.contains("channel binding") && !text.contains("SENTINEL"), "{strips} {binding}: {text}");
    }
}

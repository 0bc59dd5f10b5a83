//! TLS for PostgreSQL sessions: which certificates are trusted, and the one verifier that trusts all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::options::invalid;
use crate::error::Error;

/// The connector to hand to [`tokio_postgres::Config::connect`].
pub type Tls = MakeRustlsConnect;

/// What is verified once TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    /// Nothing: the session is encrypted, but its other end may be anyone.
    None,
    /// The chain up to a certificate in this file, and the host's name.
    Full(PathBuf),
}

pub(super) fn verification(sslmode: Option<&str>, root: Option<PathBuf>) -> Result<Verification, Error> {
    match (sslmode, root) {
        (Some("verify-full"), None) => {
            Err(invalid("sslmode verify-full needs sslrootcert, a file of PEM certificates"))
        }
        (None | Some("disable" | "prefer" | "require" | "verify-full"), Some(root)) => {
            Ok(Verification::Full(root))
        }
        (None | Some("disable" | "prefer" | "require"), None) => Ok(Verification::None),
        (Some(_), _) => Err(invalid("sslmode must be one of disable, prefer, require, verify-full")),
    }
}

pub(super) fn connector(verification: &Verification) -> Result<Tls, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of the default protocol versions");
    let builder = match verification {
        Verification::None => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone { provider }))
        }
        Verification::Full(path) => builder.with_root_certificates(roots(path)?),
    };
    Ok(MakeRustlsConnect::new(builder.with_no_client_auth()))
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let cannot_use = || invalid(format!("cannot use the root certificates in {}", path.display()));
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| cannot_use().caused_by(error))? {
        let certificate = certificate.map_err(|error| cannot_use().caused_by(error))?;
        store.add(certificate).map_err(|error| cannot_use().caused_by(error))?;
    }
    if store.is_empty() { Err(cannot_use()) } else { Ok(store) }
}

/// Accepts every certificate, as libpq does for `prefer` and `require` without a root certificate.
///
/// The handshake's signature is still checked, so the other end does hold the certificate's key.
#[derive(Debug)]
struct TrustAnyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

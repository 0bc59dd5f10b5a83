//! TLS for PostgreSQL sessions: which certificates are trusted, the one verifier that trusts all, and what binds a
//! password's proof to the connection.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;

use super::end_point;
use super::options::invalid;
use crate::error::Error;

/// The connector to hand to [`tokio_postgres::Config::connect`].
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

/// The connector to one host.
#[derive(Debug)]
pub struct TlsToHost {
    host: String,
    config: Arc<ClientConfig>,
}

/// An encrypted connection.
#[derive(Debug)]
pub struct TlsStream<S> {
    inner: tokio_rustls::client::TlsStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = TlsStream<S>;
    type TlsConnect = TlsToHost;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<TlsToHost, Infallible> {
        Ok(TlsToHost { host: host.to_owned(), config: Arc::clone(&self.config) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for TlsToHost {
    type Stream = TlsStream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsStream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            // The name is looked at here and not before: a unix socket has a path for one, and never comes so far.
            let name = ServerName::try_from(self.host)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let inner = TlsConnector::from(self.config).connect(name, stream).await?;
            Ok(TlsStream { inner })
        })
    }
}

impl<S> TlsStream<S> {
    /// Returns what a proof of the password is bound to, so that nobody passes it on to the real server (RFC 5929,
    /// `tls-server-end-point`): the hash of the server's certificate. `None` for a certificate whose signature names no
    /// hash, such as one of Ed25519, for which the RFC defines nothing.
    pub fn server_end_point(&self) -> Option<Vec<u8>> {
        let (_, session) = self.inner.get_ref();
        end_point::hash(session.peer_certificates()?.first()?)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for TlsStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.server_end_point().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

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
    Ok(Tls { config: Arc::new(builder.with_no_client_auth()) })
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

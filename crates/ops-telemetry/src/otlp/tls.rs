//! Whom a collector behind `https` must prove to be. Feature `otlp-tls`.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::options::Collector;
use crate::error::{Error, ErrorKind};

/// Trusts the certificates of the collector's own file, else those of the system; speaks only `protocol` (ALPN).
pub(super) fn config(collector: &Collector, protocol: &[u8]) -> Result<Arc<ClientConfig>, Error> {
    let invalid = |why: String| Error::new(ErrorKind::InvalidCollector, why);
    let mut roots = RootCertStore::empty();
    match &collector.certificates {
        Some(file) => {
            let unreadable = |error: &dyn std::fmt::Display| {
                invalid(format!(
                    "certificates of the collector in {} cannot be read: {error}",
                    file.display()
                ))
            };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(invalid("no certificate is there that could vouch for the collector".into()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(error.to_string()))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

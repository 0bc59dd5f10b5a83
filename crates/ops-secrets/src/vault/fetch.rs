//! References to Vault and OpenBao in settings.

use super::client::Vault;
use super::error::{VaultError, VaultErrorKind};
use crate::error::ErrorKind;
use crate::reference::{Document, Fetch, FetchError, Fetching, Reference, Scheme};

impl Fetch for Vault {
    fn schemes(&self) -> &[Scheme] {
        &[Scheme::Vault, Scheme::OpenBao]
    }

    fn fetch<'a>(&'a self, reference: &'a Reference) -> Fetching<'a> {
        Box::pin(async move {
            let version = reference.version().and_then(|version| version.parse().ok());
            let entry = self.read(reference.address(), version).await.map_err(|error| fetch_error(&error))?;
            let (fields, version, lease) = entry.into_parts();
            let document = Document::fields(fields);
            if let Some(lease) = &lease {
                self.leased().add(lease.clone()).await;
            }
            Ok(match (version, lease) {
                (Some(version), _) => document.note(format!("version {version}")),
                (None, Some(lease)) => document.note(format!("leased for {} s", lease.granted().as_secs())),
                (None, None) => document,
            })
        })
    }
}

fn fetch_error(error: &VaultError) -> FetchError {
    let kind = match error.kind() {
        VaultErrorKind::Login | VaultErrorKind::Forbidden => ErrorKind::Forbidden,
        VaultErrorKind::NotFound | VaultErrorKind::Deleted | VaultErrorKind::Destroyed => ErrorKind::NotFound,
        VaultErrorKind::Sealed => ErrorKind::Sealed,
        VaultErrorKind::TooManyRequests | VaultErrorKind::Unreachable => ErrorKind::Unreachable,
        VaultErrorKind::Options => ErrorKind::UnresolvedReference,
        VaultErrorKind::Conflict | VaultErrorKind::LeaseEnded | VaultErrorKind::UnexpectedAnswer => {
            ErrorKind::UnexpectedAnswer
        }
    };
    FetchError::new(kind, error.why())
}

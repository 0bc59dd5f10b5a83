//! What the client has to be told, and the variables that say it to other tools too.

use super::auth::{Auth, SecretId};
use super::error::{VaultError, VaultErrorKind};
use super::kv::KvVersion;
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Options of [`Vault`](super::Vault).
#[derive(Debug, Clone)]
pub struct VaultOptions {
    /// Where the server is, for example `https://vault.example:8200`. Without TLS it must be on this machine: a token that
    /// crosses a network in the clear is everybody's.
    pub address: String,
    /// How to log in.
    pub auth: Auth,
    /// The namespace of all paths.
    pub namespace: Option<String>,
    /// A file with the certificates (PEM) that sign the server's; without it those of the system count.
    pub ca_file: Option<PathBuf>,
    /// Allows `http://` to other machines.
    pub allow_plain_http: bool,
    /// How long one request may take.
    pub timeout: Duration,
    /// The versions of KV mounts, for tokens that may not ask the server.
    pub mounts: BTreeMap<String, KvVersion>,
}

impl VaultOptions {
    /// Options with 10 s a request, no namespace, and the certificates of the system.
    pub fn new(address: &str, auth: Auth) -> Self {
        Self {
            address: address.to_owned(),
            auth,
            namespace: None,
            ca_file: None,
            allow_plain_http: false,
            timeout: Duration::from_secs(10),
            mounts: BTreeMap::new(),
        }
    }

    /// Reads the variables that the command lines of OpenBao and Vault read: `BAO_ADDR` or `VAULT_ADDR`, and likewise
    /// `…_NAMESPACE`, `…_CACERT` and `…_TOKEN`; and beside them `…_TOKEN_FILE`, `…_ROLE_ID` with `…_SECRET_ID` or
    /// `…_SECRET_ID_FILE`, and `…_K8S_ROLE`. None where there is no address.
    ///
    /// # Errors
    /// [`VaultErrorKind::Options`] where the two prefixes contradict each other, or there is no way or more than one to log
    /// in.
    pub fn from_vars(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Option<Result<Self, VaultError>> {
        let all: BTreeMap<String, String> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, value)| {
                (name.starts_with("BAO_") || name.starts_with("VAULT_")) && !value.is_empty()
            })
            .collect();
        if !all.contains_key("BAO_ADDR") && !all.contains_key("VAULT_ADDR") {
            return None;
        }
        Some(Self::of(&all))
    }

    fn of(all: &BTreeMap<String, String>) -> Result<Self, VaultError> {
        let wrong = |name: &str, why: &str| VaultError::new(VaultErrorKind::Options, name, why);
        let get = |name: &str| -> Result<Option<&String>, VaultError> {
            let (bao, vault) = (all.get(&format!("BAO_{name}")), all.get(&format!("VAULT_{name}")));
            if bao.is_some() && vault.is_some() && bao != vault {
                return Err(wrong(
                    &format!("BAO_{name}"),
                    "it differs from the variable of Vault; unset one",
                ));
            }
            Ok(bao.or(vault))
        };
        let mut ways = Vec::new();
        ways.extend(get("TOKEN")?.map(|token| Auth::Token(Secret::from(token.as_str()))));
        ways.extend(get("TOKEN_FILE")?.map(|path| Auth::TokenFile(path.into())));
        ways.extend(get("K8S_ROLE")?.map(|role| Auth::kubernetes(role)));
        if let Some(role_id) = get("ROLE_ID")? {
            let value = get("SECRET_ID")?.map(|value| SecretId::Value(Secret::from(value.as_str())));
            let file = get("SECRET_ID_FILE")?.map(|path| SecretId::File(path.into()));
            let ((Some(secret_id), None) | (None, Some(secret_id))) = (value, file) else {
                return Err(wrong("ROLE_ID", "give one of SECRET_ID and SECRET_ID_FILE"));
            };
            ways.push(Auth::app_role(role_id, secret_id));
        }
        let auth = match <[Auth; 1]>::try_from(ways) {
            Ok([auth]) => auth,
            Err(ways) if ways.is_empty() => {
                let why = "there is no way to log in: set TOKEN, TOKEN_FILE, ROLE_ID or K8S_ROLE";
                return Err(wrong("VAULT_ADDR", why));
            }
            Err(_) => {
                let why = "there are several ways to log in: set one of TOKEN, TOKEN_FILE, ROLE_ID, K8S_ROLE";
                return Err(wrong("VAULT_ADDR", why));
            }
        };
        let address = get("ADDR")?.cloned().unwrap_or_default();
        let mut options = Self::new(&address, auth);
        options.namespace = get("NAMESPACE")?.cloned();
        options.ca_file = get("CACERT")?.map(PathBuf::from);
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_say_where_and_how() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("VAULT_TOKEN", "hunter2")], None),
            (&[("VAULT_ADDR", "http://a"), ("VAULT_TOKEN", "hunter2")], Some("http://a Token([redacted])")),
            (
                &[("BAO_ADDR", "http://a"), ("VAULT_ADDR", "http://a"), ("BAO_K8S_ROLE", "r")],
                Some("http://a Kubernetes(kubernetes, r)"),
            ),
            (
                &[("BAO_ADDR", "http://a"), ("BAO_ROLE_ID", "r"), ("BAO_SECRET_ID", "hunter2")],
                Some("http://a AppRole(approle, r)"),
            ),
            (
                &[("VAULT_ADDR", "http://a"), ("VAULT_TOKEN", "hunter2"), ("VAULT_K8S_ROLE", "r")],
                Some(
                    "VAULT_ADDR: there are several ways to log in: set one of TOKEN, TOKEN_FILE, ROLE_ID, K8S_ROLE",
                ),
            ),
            (
                &[("BAO_ADDR", "http://a"), ("VAULT_ADDR", "http://b"), ("BAO_TOKEN", "hunter2")],
                Some("BAO_ADDR: it differs from the variable of Vault; unset one"),
            ),
            (
                &[("BAO_ADDR", "http://a"), ("BAO_ROLE_ID", "r")],
                Some("ROLE_ID: give one of SECRET_ID and SECRET_ID_FILE"),
            ),
            (
                &[("BAO_ADDR", "http://a")],
                Some("VAULT_ADDR: there is no way to log in: set TOKEN, TOKEN_FILE, ROLE_ID or K8S_ROLE"),
            ),
        ] {
            let told =
                VaultOptions::from_vars(variables.iter().map(|(name, value)| (name.into(), value.into())));
            let told = told.map(|told| match told {
                Ok(options) => format!("{} {:?}", options.address, options.auth),
                Err(error) => error.to_string(),
            });
            assert_eq!(told.as_deref(), expected, "{variables:?}");
        }
    }
}

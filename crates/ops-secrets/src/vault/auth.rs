//! How the client proves who it is. What can change on disk, a secret id or a service account's token, is read at each
//! login and kept nowhere.

use super::error::{VaultError, VaultErrorKind};
use crate::file;
use crate::secret::Secret;
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where Kubernetes mounts the token of a service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How the client logs in.
#[derive(Clone)]
pub enum Auth {
    /// A token that somebody else issued. It is renewed while that is possible.
    Token(Secret),
    /// A file with a token, which an agent keeps fresh; it is read again when the token is refused.
    TokenFile(PathBuf),
    /// AppRole.
    AppRole {
        /// Where it is mounted, usually `approle`.
        mount: String,
        /// The id of the role, which is no secret.
        role_id: String,
        /// Its secret half.
        secret_id: SecretId,
    },
    /// The service account of a pod.
    Kubernetes {
        /// Where it is mounted, usually `kubernetes`.
        mount: String,
        /// The role to log in as.
        role: String,
        /// The file with the service account's token.
        token_file: PathBuf,
    },
}

/// The secret half of an AppRole.
#[derive(Clone)]
pub enum SecretId {
    /// The value itself.
    Value(Secret),
    /// A file that is read at each login, so that it can be replaced.
    File(PathBuf),
}

/// What a login sends.
pub(super) enum Login {
    /// Nothing: this is the token.
    Token(Secret),
    /// A request that is answered with a token.
    Request { path: String, body: Value },
}

impl Auth {
    /// AppRole at its usual mount.
    pub fn app_role(role_id: &str, secret_id: SecretId) -> Self {
        Self::AppRole { mount: "approle".into(), role_id: role_id.into(), secret_id }
    }

    /// The service account of this pod, at the usual mount.
    pub fn kubernetes(role: &str) -> Self {
        Self::Kubernetes { mount: "kubernetes".into(), role: role.into(), token_file: SERVICE_ACCOUNT.into() }
    }

    /// Whether another login gives another token.
    pub(super) fn can_repeat(&self) -> bool {
        !matches!(self, Self::Token(_))
    }

    pub(super) fn login(&self) -> Result<Login, VaultError> {
        match self {
            Self::Token(token) => Ok(Login::Token(token.clone())),
            Self::TokenFile(path) => read(path).map(Login::Token),
            Self::AppRole { mount, role_id, secret_id } => {
                let secret_id = match secret_id {
                    SecretId::Value(value) => value.clone(),
                    SecretId::File(path) => read(path)?,
                };
                let body = json!({ "role_id": role_id, "secret_id": secret_id.expose_secret() });
                Ok(Login::Request { path: format!("auth/{mount}/login"), body })
            }
            Self::Kubernetes { mount, role, token_file } => {
                let jwt = read(token_file)?;
                let body = json!({ "role": role, "jwt": jwt.expose_secret() });
                Ok(Login::Request { path: format!("auth/{mount}/login"), body })
            }
        }
    }
}

fn read(path: &Path) -> Result<Secret, VaultError> {
    let wrong = |why: String| VaultError::new(VaultErrorKind::Options, &path.display().to_string(), why);
    let file = file::read(path).map_err(|why| wrong(format!("the file {why}")))?;
    if file.text.is_empty() {
        return Err(wrong("the file is empty".into()));
    }
    Ok(Secret::from(file.text.as_str()))
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token([redacted])"),
            Self::TokenFile(path) => write!(f, "TokenFile({})", path.display()),
            Self::AppRole { mount, role_id, .. } => write!(f, "AppRole({mount}, {role_id})"),
            Self::Kubernetes { mount, role, .. } => write!(f, "Kubernetes({mount}, {role})"),
        }
    }
}

impl fmt::Debug for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value([redacted])"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

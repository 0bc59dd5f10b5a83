//! The client: keeps a token that is good, and asks with it.

use super::auth::Login;
use super::error::{VaultError, VaultErrorKind};
use super::http::{Answer, Http};
use super::keep::Leased;
use super::kv::KvVersion;
use super::options::VaultOptions;
use crate::secret::Secret;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A token is renewed, or a new one fetched, when this part of its time is over.
const OLD: f64 = 0.7;
/// A renewal that grants less than this part of what was left to hope for says that the token's end is near.
const CUT_SHORT: f64 = 0.9;

/// A client for Vault and OpenBao. Clones share the token.
///
/// ```no_run
/// # async fn example() -> Result<(), ops_secrets::vault::VaultError> {
/// use ops_secrets::vault::{Auth, SecretId, Vault, VaultOptions};
///
/// let auth = Auth::app_role("shop", SecretId::File("/run/secrets/secret-id".into()));
/// let vault = Vault::new(VaultOptions::new("https://vault.example:8200", auth))?;
/// let entry = vault.read("kv/shop/db", None).await?;
/// println!("version {:?}", entry.version());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    http: Http,
    options: VaultOptions,
    session: Mutex<Session>,
    /// What the server said about mounts: they rarely change.
    mounts: Mutex<BTreeMap<String, Mount>>,
    leased: Leased,
}

/// A mount, as far as it matters for reading.
#[derive(Debug, Clone)]
pub(super) struct Mount {
    /// With a slash at its end.
    pub(super) path: String,
    /// None where it is no KV.
    pub(super) kv: Option<KvVersion>,
}

/// The token that took a lease: when it ends, so does the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    /// The number of the login.
    pub(super) generation: u64,
    pub(super) end: Option<Instant>,
}

#[derive(Default)]
struct Session {
    token: Option<Token>,
    /// Counts logins, so that several requests that are refused at the same time lead to one.
    generation: u64,
}

#[derive(Clone)]
struct Token {
    value: Secret,
    since: Instant,
    /// None where it does not end.
    lifetime: Option<Duration>,
    renewable: bool,
}

impl Token {
    fn end(&self) -> Option<Instant> {
        self.lifetime.map(|lifetime| self.since + lifetime)
    }

    fn is_old(&self) -> bool {
        self.lifetime.is_some_and(|lifetime| self.since.elapsed() >= lifetime.mul_f64(OLD))
    }

    fn has_ended(&self) -> bool {
        self.end().is_some_and(|end| end <= Instant::now())
    }
}

impl Vault {
    /// Makes a client; it connects when it is first asked something.
    ///
    /// # Errors
    /// [`VaultErrorKind::Options`] where the address or the certificates cannot be used.
    pub fn new(options: VaultOptions) -> Result<Self, VaultError> {
        let http = Http::new(&options)?;
        let (session, mounts, leased) = (Mutex::default(), Mutex::default(), Leased::default());
        let inner = Inner { http, options, session, mounts, leased };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn leased(&self) -> &Leased {
        &self.inner.leased
    }

    /// What a person would call the server.
    #[cfg(feature = "rotate")]
    pub(super) fn place(&self) -> String {
        self.inner.http.place()
    }

    /// Returns how long the token lives: no lease that it took lives longer. None where it does not end.
    ///
    /// # Errors
    /// What keeps the client from logging in.
    pub async fn token_remaining(&self) -> Result<Option<Duration>, VaultError> {
        let parent = self.parent().await?;
        Ok(parent.end.map(|end| end.saturating_duration_since(Instant::now())))
    }

    /// Drops the token and revokes it at the server, which ends every lease that it took.
    ///
    /// # Errors
    /// What keeps the server from it; the token is dropped all the same.
    pub async fn log_out(&self) -> Result<(), VaultError> {
        let token = self.inner.session.lock().await.token.take();
        let Some(token) = token else { return Ok(()) };
        let path = "auth/token/revoke-self";
        self.inner.http.send(Method::POST, path, Some(&token.value), None).await.map(drop)
    }

    /// Sends a request; where the token is refused and another can be had, once more with that one.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, VaultError> {
        let (token, generation) = self.token().await?;
        let send = |token: Secret| {
            let method = method.clone();
            async move { self.inner.http.send(method, path, Some(&token), body).await }
        };
        match send(token.value).await {
            Err(error)
                if error.kind() == VaultErrorKind::Forbidden && self.inner.options.auth.can_repeat() =>
            {
                self.forget(generation).await;
                let (token, _) = self.token().await?;
                send(token.value).await
            }
            answered => answered,
        }
    }

    /// Returns the mount that a path belongs to, and which version of KV it is.
    pub(super) async fn mount(&self, path: &str) -> Result<Mount, VaultError> {
        for (mount, version) in &self.inner.options.mounts {
            let mount = format!("{}/", mount.trim_end_matches('/'));
            if path.starts_with(&mount) {
                return Ok(Mount { path: mount, kv: Some(*version) });
            }
        }
        let known = self.inner.mounts.lock().await;
        if let Some(mount) = known.values().find(|mount| path.starts_with(&mount.path)) {
            return Ok(mount.clone());
        }
        drop(known);
        let ask = format!("sys/internal/ui/mounts/{path}");
        let answer = self.request(Method::GET, &ask, None).await.map_err(|error| {
            let why = match error.kind() {
                VaultErrorKind::Forbidden => {
                    "there is no such mount, or the token's policy allows nothing in it".into()
                }
                _ => error.why().to_owned(),
            };
            VaultError::new(error.kind(), path, why)
        })?;
        let data = &answer.body["data"];
        let Some(found) = data["path"].as_str().filter(|_| answer.status == 200) else {
            return Err(VaultError::new(VaultErrorKind::NotFound, path, "there is no such mount"));
        };
        let kv = match (data["type"].as_str(), data["options"]["version"].as_str()) {
            (Some("kv" | "generic"), Some("2")) => Some(KvVersion::Two),
            (Some("kv" | "generic"), _) => Some(KvVersion::One),
            _ => None,
        };
        let mount = Mount { path: found.to_owned(), kv };
        self.inner.mounts.lock().await.insert(mount.path.clone(), mount.clone());
        Ok(mount)
    }

    async fn forget(&self, generation: u64) {
        let mut session = self.inner.session.lock().await;
        if session.generation == generation {
            session.token = None;
        }
    }

    /// The end of the token, and the number of its login.
    pub(super) async fn parent(&self) -> Result<Parent, VaultError> {
        let (token, generation) = self.token().await?;
        Ok(Parent { generation, end: token.end() })
    }

    /// A token that is good; one task logs in, and the others wait for it.
    async fn token(&self) -> Result<(Token, u64), VaultError> {
        let mut session = self.inner.session.lock().await;
        if let Some(token) = session.token.clone() {
            if !token.is_old() {
                return Ok((token, session.generation));
            }
            match self.renew_token(&token).await {
                Ok(renewed) => {
                    session.token = Some(renewed.clone());
                    return Ok((renewed, session.generation));
                }
                // Where there is no other, it is used to its end, and not renewed again and again in vain.
                Err(error) if !self.inner.options.auth.can_repeat() => {
                    if token.has_ended() {
                        return Err(error);
                    }
                    let gone = error.kind() == VaultErrorKind::Forbidden;
                    let token = Token { renewable: token.renewable && !gone, ..token };
                    session.token = Some(token.clone());
                    return Ok((token, session.generation));
                }
                Err(_) => {}
            }
        }
        let token = self.log_in().await?;
        session.generation += 1;
        session.token = Some(token.clone());
        Ok((token, session.generation))
    }

    #[tracing::instrument(name = "vault_login", skip_all)]
    async fn log_in(&self) -> Result<Token, VaultError> {
        match self.inner.options.auth.login()? {
            Login::Token(value) => {
                let path = "auth/token/lookup-self";
                let answer = match self.inner.http.send(Method::GET, path, Some(&value), None).await {
                    // It may be good all the same: its policy need not let it look at itself. Then the next request tells,
                    // and its end comes unannounced.
                    Err(error) if error.kind() == VaultErrorKind::Forbidden => {
                        return Ok(Token { value, since: Instant::now(), lifetime: None, renewable: false });
                    }
                    answer => answer?,
                };
                let data = &answer.body["data"];
                let ttl = data["ttl"].as_u64().filter(|_| answer.status == 200).ok_or_else(|| odd(path))?;
                let lifetime = Some(Duration::from_secs(ttl)).filter(|ttl| !ttl.is_zero());
                let renewable = data["renewable"].as_bool().unwrap_or(false);
                Ok(Token { value, since: Instant::now(), lifetime, renewable })
            }
            Login::Request { path, body } => {
                let since = Instant::now();
                let answer = self.inner.http.send(Method::POST, &path, None, Some(&body)).await;
                let refused = || {
                    let why = "the server refuses to log in: the role, its secret or its bounds do not fit";
                    VaultError::new(VaultErrorKind::Login, &path, why)
                };
                let answer = match answer {
                    Err(error) if error.kind() == VaultErrorKind::Forbidden => return Err(refused()),
                    answer => answer?,
                };
                if answer.status != 200 {
                    return Err(refused());
                }
                token_of(&answer.body["auth"], since).ok_or_else(|| odd(&path))
            }
        }
    }

    /// Renews a token; one whose end is near though it was renewed is an error, for only a new login helps.
    async fn renew_token(&self, token: &Token) -> Result<Token, VaultError> {
        let path = "auth/token/renew-self";
        let ended =
            || VaultError::new(VaultErrorKind::Forbidden, path, "the token cannot be renewed any more");
        let Some(lifetime) = token.lifetime.filter(|_| token.renewable && !token.has_ended()) else {
            return Err(ended());
        };
        let since = Instant::now();
        let body = json!({ "increment": format!("{}s", lifetime.as_secs()) });
        let answer = self.inner.http.send(Method::POST, path, Some(&token.value), Some(&body)).await?;
        let renewed =
            token_of(&answer.body["auth"], since).filter(|_| answer.status == 200).ok_or_else(ended)?;
        let cut = renewed.lifetime.is_some_and(|granted| granted < lifetime.mul_f64(CUT_SHORT));
        if cut && self.inner.options.auth.can_repeat() { Err(ended()) } else { Ok(renewed) }
    }
}

fn token_of(auth: &Value, since: Instant) -> Option<Token> {
    let value = Secret::from(auth["client_token"].as_str()?);
    let lifetime = Some(Duration::from_secs(auth["lease_duration"].as_u64()?)).filter(|ttl| !ttl.is_zero());
    Some(Token { value, since, lifetime, renewable: auth["renewable"].as_bool().unwrap_or(false) })
}

fn odd(path: &str) -> VaultError {
    VaultError::new(VaultErrorKind::UnexpectedAnswer, path, "the answer is not what the API promises")
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("auth", &self.inner.options.auth).finish_non_exhaustive()
    }
}

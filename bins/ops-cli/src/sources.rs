//! Where the references of settings lead to: OpenBao or Vault, AWS, and what age decrypts.
//!
//! How to log in stands in `[secrets]` of the settings file, or in the variables that the tools of these services read. It is
//! looked at when the first reference asks: most calls have none, and a variable that other tools left behind must not keep a
//! command from its work. What is leased is renewed for as long as the command runs, and given back in the end, as is the token of
//! a login of ours.

use ops_secrets::vault::{Auth, Vault, VaultError, VaultOptions};
use ops_secrets::{ErrorKind, Fetch, FetchError, Fetching, Masker, Reference, References, Scheme, Secret};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::task::JoinHandle;

/// The ways to log in, without `BAO_` or `VAULT_`.
const LOGINS: [&str; 6] = ["TOKEN", "TOKEN_FILE", "ROLE_ID", "SECRET_ID", "SECRET_ID_FILE", "K8S_ROLE"];

/// What is told where a reference asks for a server and none is named.
const NO_SERVER: &str = "no server is named: set `address` under [secrets.openbao], OPS_SECRETS_OPENBAO_ADDRESS, BAO_ADDR or VAULT_ADDR";

/// The defaults of the tables below `[secrets]`, added to those of every binary.
pub(crate) const DEFAULTS: &str = "
[secrets.openbao]
# The server of `openbao://` and `vault://`, OpenBao or Vault: `https://vault.example:8200`; without it that of BAO_ADDR or VAULT_ADDR.
address = \"\"
# The namespace of all paths.
namespace = \"\"
# A file with the certificates (PEM) that sign the server's.
ca_file = \"\"
# A token; one way to log in of three.
token = \"\"
# AppRole, the second way: the id of the role.
role_id = \"\"
# The secret half of the AppRole.
secret_id = \"\"
# The service account of a pod, the third way: the role that it logs in as.
kubernetes_role = \"\"

[secrets.age]
# A file with the identities (private keys) that open the files of `age://`.
identity = \"\"
";

/// The table `[secrets]`, as far as all binaries share it.
#[derive(Debug, Deserialize)]
pub struct SourceSettings {
    /// The table `[secrets.openbao]`.
    pub openbao: OpenBaoSettings,
    /// The table `[secrets.age]`.
    pub age: AgeSettings,
}

/// The table `[secrets.openbao]`: what is empty is taken from the variables of OpenBao and Vault.
#[derive(Debug, Clone, Deserialize)]
pub struct OpenBaoSettings {
    /// Where the server is.
    pub address: String,
    /// The namespace of all paths.
    pub namespace: String,
    /// A file with the certificates that sign the server's.
    pub ca_file: String,
    /// A token.
    pub token: Secret,
    /// The id of an AppRole.
    pub role_id: String,
    /// Its secret half.
    pub secret_id: Secret,
    /// The role of a service account of Kubernetes.
    pub kubernetes_role: String,
}

/// The table `[secrets.age]`.
#[derive(Debug, Clone, Deserialize)]
pub struct AgeSettings {
    /// A file with identities.
    pub identity: String,
}

/// The options of a client, from the settings and what they leave open from the variables of OpenBao and Vault; none where no
/// server is named. The secrets among these variables are masked from now on.
///
/// # Errors
/// Where they contradict each other, or there is no way or more than one to log in.
pub fn openbao(settings: &OpenBaoSettings, masker: &Masker) -> Option<Result<VaultOptions, VaultError>> {
    let own = |(name, _): &(OsString, OsString)| {
        name.to_str().is_some_and(|name| name.starts_with("BAO_") || name.starts_with("VAULT_"))
    };
    let mut variables: BTreeMap<OsString, OsString> = std::env::vars_os().filter(own).collect();
    for name in ["BAO_TOKEN", "VAULT_TOKEN", "BAO_SECRET_ID", "VAULT_SECRET_ID"] {
        register(masker, name);
    }
    let given = [
        ("ADDR", &settings.address),
        ("NAMESPACE", &settings.namespace),
        ("CACERT", &settings.ca_file),
        ("TOKEN", settings.token.expose_secret()),
        ("ROLE_ID", &settings.role_id),
        ("SECRET_ID", settings.secret_id.expose_secret()),
        ("K8S_ROLE", &settings.kubernetes_role),
    ];
    let given: Vec<_> = given.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let forget = |variables: &mut BTreeMap<_, _>, name: &str| {
        for prefix in ["BAO", "VAULT"] {
            variables.remove(&OsString::from(format!("{prefix}_{name}")));
        }
    };
    // A login of the settings counts as a whole: a token of the environment would be a second way.
    if given.iter().any(|(name, _)| LOGINS.contains(name)) {
        LOGINS.iter().for_each(|name| forget(&mut variables, name));
    }
    for (name, value) in given {
        forget(&mut variables, name);
        variables.insert(format!("BAO_{name}").into(), value.into());
    }
    VaultOptions::from_vars(variables)
}

/// Whether a login with these options makes a token of our own, which we take back.
pub fn is_own_login(options: &VaultOptions) -> bool {
    matches!(options.auth, Auth::AppRole { .. } | Auth::Kubernetes { .. })
}

fn register(masker: &Masker, variable: &str) {
    if let Ok(value) = std::env::var(variable) {
        masker.register(variable, &value);
    }
}

/// The clients that were made, if any.
pub(crate) struct Sources {
    settings: SourceSettings,
    openbao: Arc<Late<OpenBao>>,
    aws: Arc<dyn Fetch>,
}

impl Sources {
    pub(crate) fn new(settings: SourceSettings, masker: &Masker) -> Self {
        let (options, masked) = (settings.openbao.clone(), masker.clone());
        let make = move || OpenBao::new(&options, &masked);
        Self {
            settings,
            openbao: Arc::new(Late::new(&[Scheme::OpenBao, Scheme::Vault], make)),
            aws: Arc::new(aws(masker)),
        }
    }

    /// Adds all that is needed to resolve references to servers.
    pub(crate) fn add_to(&self, references: References) -> References {
        let openbao: Arc<dyn Fetch> = Arc::<Late<OpenBao>>::clone(&self.openbao);
        let references = references.fetcher(openbao).fetcher(Arc::clone(&self.aws));
        match self.settings.age.identity.as_str() {
            "" => references,
            identity => references.age_identity(Path::new(identity)),
        }
    }

    /// Gives back what was leased, and takes the token of a login of ours back.
    pub(crate) async fn log_out(&self) {
        let Some(Ok(OpenBao { vault, ours, keeper })) = self.openbao.client.get() else { return };
        keeper.abort();
        if !ours {
            return vault.give_back_leases().await;
        }
        // With the token end the leases that it took.
        if let Err(error) = vault.log_out().await {
            tracing::debug!(%error, "the token of this run is not revoked, and ends by itself");
        }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A client that is made when the first reference asks for it, or why there is none.
struct Late<T> {
    schemes: &'static [Scheme],
    make: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    client: OnceLock<Result<T, String>>,
}

impl<T> Late<T> {
    fn new(schemes: &'static [Scheme], make: impl Fn() -> Result<T, String> + Send + Sync + 'static) -> Self {
        Self { schemes, make: Box::new(make), client: OnceLock::new() }
    }
}

impl<T: Fetch> Fetch for Late<T> {
    fn schemes(&self) -> &[Scheme] {
        self.schemes
    }

    fn fetch<'a>(&'a self, reference: &'a Reference) -> Fetching<'a> {
        match self.client.get_or_init(&self.make) {
            Ok(client) => client.fetch(reference),
            Err(why) => {
                let error = FetchError::new(ErrorKind::UnresolvedReference, why.clone());
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }
}

struct OpenBao {
    vault: Vault,
    /// The token is of a login of ours.
    ours: bool,
    /// Renews what is leased, for as long as the command runs.
    keeper: JoinHandle<()>,
}

impl OpenBao {
    fn new(settings: &OpenBaoSettings, masker: &Masker) -> Result<Self, String> {
        let options = openbao(settings, masker).ok_or_else(|| NO_SERVER.to_owned())?;
        let options = options.map_err(|error| error.to_string())?;
        let ours = is_own_login(&options);
        let vault = Vault::new(options).map_err(|error| error.to_string())?;
        let kept = vault.clone();
        let keeper = tokio::spawn(async move { kept.keep_leases().await });
        Ok(Self { vault, ours, keeper })
    }
}

impl Fetch for OpenBao {
    fn schemes(&self) -> &[Scheme] {
        self.vault.schemes()
    }

    fn fetch<'a>(&'a self, reference: &'a Reference) -> Fetching<'a> {
        self.vault.fetch(reference)
    }
}

const OF_AWS: &[Scheme] = &[Scheme::AwsSecretsManager, Scheme::AwsParameterStore];

#[cfg(feature = "aws")]
fn aws(masker: &Masker) -> Late<ops_secrets::aws::Aws> {
    let masker = masker.clone();
    Late::new(OF_AWS, move || {
        for name in ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
            register(&masker, name);
        }
        ops_secrets::aws::Aws::from_vars(std::env::vars_os()).map_err(|error| error.to_string())
    })
}

/// Nothing is ever made of it: the answer is why.
#[cfg(not(feature = "aws"))]
fn aws(_: &Masker) -> Late<OpenBao> {
    Late::new(OF_AWS, || Err("this program was built without its feature `aws`".to_owned()))
}

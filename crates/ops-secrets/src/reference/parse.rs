//! The text of a reference, and how it is shown: never with what may be secret in it.

use crate::suggest::nearest;
use std::fmt;

/// What kind of place a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `vault://`
    Vault,
    /// `openbao://`
    OpenBao,
    /// `aws-sm://`
    AwsSecretsManager,
    /// `aws-ssm://`
    AwsParameterStore,
    /// `sops://`
    Sops,
    /// `age://`
    Age,
    /// `exec://`
    Exec,
    /// `file://`
    File,
    /// `env://`
    Env,
    /// `literal://`
    Literal,
}

impl Scheme {
    const ALL: [Self; 10] = [
        Self::Vault,
        Self::OpenBao,
        Self::AwsSecretsManager,
        Self::AwsParameterStore,
        Self::Sops,
        Self::Age,
        Self::Exec,
        Self::File,
        Self::Env,
        Self::Literal,
    ];

    /// Returns the name, as it stands before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::OpenBao => "openbao",
            Self::AwsSecretsManager => "aws-sm",
            Self::AwsParameterStore => "aws-ssm",
            Self::Sops => "sops",
            Self::Age => "age",
            Self::Exec => "exec",
            Self::File => "file",
            Self::Env => "env",
            Self::Literal => "literal",
        }
    }

    /// What a reference of this kind looks like.
    fn form(self) -> &'static str {
        match self {
            Self::Vault => "vault://mount/path#field",
            Self::OpenBao => "openbao://mount/path#field",
            Self::AwsSecretsManager => "aws-sm://name or aws-sm://name#field",
            Self::AwsParameterStore => "aws-ssm:///path/name",
            Self::Sops => "sops://file#key",
            Self::Age => "age://file",
            Self::Exec => {
                "exec://program word word, or exec://[\"program\", \"word\"] where a word has a space, a quote or another character of the shell"
            }
            Self::File => "file:///path or file://path#field",
            Self::Env => "env://NAME",
            Self::Literal => "literal://text",
        }
    }

    /// Whether this process can resolve it alone.
    pub(super) fn is_local(self) -> bool {
        matches!(self, Self::Sops | Self::Age | Self::Exec | Self::File | Self::Env | Self::Literal)
    }

    /// Whether what stands there may be a reference again.
    pub(super) fn leads_on(self) -> bool {
        matches!(self, Self::File | Self::Env)
    }
}

/// A reference that is well-formed.
///
/// Its `Display` is fit for logs and reports: of a command it shows the program alone, and nothing of a literal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    scheme: Scheme,
    address: String,
    version: Option<String>,
    field: Option<String>,
    /// The words of an `exec://`; empty for others.
    words: Vec<String>,
}

impl Reference {
    /// Parses a text; None where it is no reference at all.
    ///
    /// # Errors
    /// Says what a reference of its kind looks like, and nothing of the text.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (name, rest) = scheme_of(text)?;
        let Some(scheme) = Scheme::ALL.into_iter().find(|scheme| scheme.name() == name) else {
            let near = near_scheme(name)?;
            return Some(Err(format!(
                "it looks like a reference, but its scheme is not known; did you mean `{near}://`?"
            )));
        };
        let parsed = parse_rest(scheme, rest);
        Some(parsed.ok_or_else(|| format!("the reference is not well-formed: expected {}", scheme.form())))
    }

    /// Returns what kind of place it names.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns what stands between `://` and `?` or `#`: a path, a name.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the version it asks for; None for the current one.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Returns the field of the document; None for all of it.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    /// The reference without its field: two fields of one document are fetched at once.
    pub(super) fn document(&self) -> Self {
        Self { field: None, ..self.clone() }
    }
}

/// Whether a text is meant as a reference, well-formed or not.
pub(crate) fn looks_like_reference(text: &str) -> bool {
    Reference::parse(text).is_some()
}

/// The scheme of a text that has one, and the rest.
fn scheme_of(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once("://")?;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+.".contains(&byte));
    (plain && (2..=16).contains(&name.len())).then_some((name, rest))
}

/// The scheme that may be meant by a name that is none: `valt`, `VAULT`, `aws_sm`.
fn near_scheme(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase().replace('_', "-");
    nearest(&lower, Scheme::ALL.map(Scheme::name))
}

fn parse_rest(scheme: Scheme, rest: &str) -> Option<Reference> {
    let whole = |address: &str| Reference {
        scheme,
        address: address.to_owned(),
        version: None,
        field: None,
        words: Vec::new(),
    };
    if scheme == Scheme::Literal {
        return Some(whole(rest)).filter(|_| !rest.is_empty());
    }
    if rest.is_empty() || rest.trim() != rest || rest.contains(char::is_control) {
        return None;
    }
    if scheme == Scheme::Exec {
        let (words, field) = words(rest)?;
        let address = words.first()?.clone();
        return Some(Reference { words, field, ..whole(&address) });
    }
    let (rest, field) = match rest.split_once('#') {
        Some((_, "")) => return None,
        Some((rest, field)) => (rest, Some(field.to_owned())),
        None => (rest, None),
    };
    let remote = !scheme.is_local();
    let (address, version) = match rest.split_once('?').filter(|_| remote) {
        Some((address, query)) => {
            let version = query.strip_prefix("version=")?;
            let plain = version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            (address, Some(version.to_owned()).filter(|version| plain && !version.is_empty())?)
        }
        None => (rest, String::new()),
    };
    let version = Some(version).filter(|version| !version.is_empty());
    let plain = |extra: &[u8]| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || extra.contains(&byte);
        !address.is_empty() && address.bytes().all(plain)
    };
    let segments = || address.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    let fits = match scheme {
        Scheme::Vault | Scheme::OpenBao => {
            let number = version.as_deref().is_none_or(|version| version.parse::<u64>().is_ok());
            plain(b"/-_.+~=") && segments() && address.contains('/') && field.is_some() && number
        }
        Scheme::AwsSecretsManager => plain(b"/_+=.@:!-"),
        Scheme::AwsParameterStore => plain(b"/_.:-"),
        Scheme::Sops => !address.is_empty() && field.is_some(),
        Scheme::Age => !address.is_empty() && field.is_none(),
        Scheme::Env => plain(b"_") && !address.as_bytes()[0].is_ascii_digit() && field.is_none(),
        _ => !address.is_empty(),
    };
    fits.then(|| Reference { version, field, ..whole(address) })
}

/// The words of a command and the field of its output.
fn words(rest: &str) -> Option<(Vec<String>, Option<String>)> {
    let split = |rest: &str| match rest.rsplit_once('#') {
        Some((rest, field)) if !field.is_empty() && !field.contains([']', ' ']) => {
            (rest.to_owned(), Some(field.to_owned()))
        }
        _ => (rest.to_owned(), None),
    };
    let (list, field) = split(rest);
    let words: Vec<String> = if list.starts_with('[') {
        serde_json::from_str(&list).ok()?
    } else if list
        .contains(['\'', '"', '\\', '$', '`', '|', '&', ';', '<', '>', '(', ')', '*', '?', '#', '~'])
    {
        return None;
    } else {
        list.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let fits = words.first().is_some_and(|program| !program.is_empty());
    (fits && !words.iter().any(|word| word.contains('\0'))).then_some((words, field))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        if self.scheme == Scheme::Literal {
            return f.write_str("[redacted]");
        }
        f.write_str(&self.address)?;
        if self.words.len() > 1 {
            f.write_str(" …")?;
        }
        if let Some(version) = &self.version {
            write!(f, "?version={version}")?;
        }
        self.field.as_ref().map_or(Ok(()), |field| write!(f, "#{field}"))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reference({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_references_are_read_and_shown() {
        for (text, shown) in [
            ("vault://kv/app#password", "vault://kv/app#password"),
            ("openbao://team/kv/shop/db?version=3#password", "openbao://team/kv/shop/db?version=3#password"),
            ("aws-sm://prod/db", "aws-sm://prod/db"),
            (
                "aws-sm://prod/db?version=AWSPREVIOUS#user.name",
                "aws-sm://prod/db?version=AWSPREVIOUS#user.name",
            ),
            (
                "aws-sm://arn:aws:secretsmanager:eu-west-1:1:secret:db-AbCdEf",
                "aws-sm://arn:aws:secretsmanager:eu-west-1:1:secret:db-AbCdEf",
            ),
            ("aws-ssm:///prod/db/password", "aws-ssm:///prod/db/password"),
            ("sops://secrets.yaml#db.password", "sops://secrets.yaml#db.password"),
            ("age:///etc/app/key.age", "age:///etc/app/key.age"),
            ("file:///run/secrets/db", "file:///run/secrets/db"),
            ("file://what is?.json#a", "file://what is?.json#a"),
            ("env://DB_PASSWORD", "env://DB_PASSWORD"),
            ("exec://pass show prod/db", "exec://pass …"),
            ("exec://pass", "exec://pass"),
            ("exec://[\"sh\", \"-c\", \"echo $X #1\"]#a", "exec://sh …#a"),
            ("literal://vault://x", "literal://[redacted]"),
        ] {
            let reference = Reference::parse(text).unwrap().unwrap();
            assert_eq!(reference.to_string(), shown);
            assert_eq!(format!("{reference:?}"), format!("Reference({shown})"));
        }
        let exec = Reference::parse("exec://[\"a b\", \"#\"]#x").unwrap().unwrap();
        assert_eq!((exec.words(), exec.field()), (&["a b".to_owned(), "#".to_owned()][..], Some("x")));
    }

    #[test]
    fn what_is_meant_as_a_reference_is_never_a_value() {
        for text in [
            "vault://",
            "vault://kv",
            "vault://kv/app",
            "vault://kv/app#",
            "vault://kv//app#x",
            "vault://kv/../sys/raw#x",
            "vault://user:hunter2@host/kv#x",
            "vault://kv/app?v=1#x",
            "vault://kv/app?version=x#x",
            "vault://kv/app#x\n",
            " vault://kv/app#x".trim_start_matches(' ').strip_suffix('x').unwrap(),
            "aws-sm://",
            "aws-sm://a b",
            "sops://file",
            "age://file#x",
            "env://1A",
            "env://A-B",
            "env://",
            "exec://",
            "exec://[]",
            "exec://[\"a\"",
            "exec://sh -c 'hunter2'",
            "exec://cat a|b",
            "exec://echo $HOME",
            "literal://",
            "valt://kv/app#x",
            "VAULT://kv/app#x",
            "aws_sm://x",
            "openboa://kv/app#x",
        ] {
            let refused = Reference::parse(text);
            let error = refused.unwrap_or_else(|| panic!("{text} is a value")).expect_err(text);
            assert!(!error.contains("hunter2") && error.contains("://"), "{error}");
        }
    }

    #[test]
    fn other_values_are_left_alone() {
        for text in [
            "",
            "hunter2",
            "://",
            "postgres://me:pw@host/db",
            "redis://:pw@host",
            "https://host/x#y",
            "amqp://x",
            "ldap://x",
            "nats://x",
            "a b://x",
            "x vault://kv/app#x",
        ] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }
}

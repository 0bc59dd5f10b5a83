//! References: a value that says where the secret stands, in place of the secret.
//!
//! | reference | where the secret stands |
//! |---|---|
//! | `vault://mount/path#field`, `openbao://…` | an entry of Vault or OpenBao; `?version=3` asks for an older one |
//! | `aws-sm://name#field` | a secret of AWS Secrets Manager, whole or one field of its JSON; `?version=AWSPREVIOUS` |
//! | `aws-ssm:///path/name` | a parameter of AWS Systems Manager |
//! | `sops://file#key.key` | a value of a file that `sops` decrypts |
//! | `age://file` | a file that `age` decrypts |
//! | `exec://program word word` or `exec://["program", "word"]` | what a program prints; no shell |
//! | `file://path`, `env://NAME` | a file, a variable |
//! | `literal://text` | the text itself, where a secret happens to look like a reference |
//!
//! A reference is parsed, its document fetched (each document once, all at the same time), and its field picked. What
//! cannot be resolved is an error: the text of a reference never becomes the value of a secret. Only what stands in the
//! program's own hands, a variable or a file, may lead on to another reference; what comes from a server is never followed,
//! so that who can write a secret there cannot make this program run a command.

mod document;
mod local;
mod parse;
mod process;
mod resolver;

pub use document::{Document, Fetch, FetchError, Fetching};
pub use parse::{Reference, Scheme};
pub use resolver::References;

pub(crate) use parse::looks_like_reference;
pub(crate) use resolver::{Resolution, Wanted};

//! The command line of `ops-secrets`, and its settings.

use clap::{Args as ClapArgs, Parser, Subcommand};
use ops_cli::sources::{AgeSettings, OpenBaoSettings};
use ops_cli::{CommonArgs, Flag, LogSettings};
use ops_secrets::Secret;
use serde::Deserialize;
use std::ffi::OsString;
use std::path::PathBuf;

/// The defaults of every setting.
pub(crate) const DEFAULTS: &str = "
[secrets.postgres]
# The server whose passwords are rotated, and a role that may change them: a libpq URL or `key=value` pairs.
url = \"\"
# The password of that role, where the URL has none.
password = \"\"
";

/// Everything that `ops-secrets` can be told.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    /// The table `[secrets]`.
    pub(crate) secrets: SecretsSettings,
    /// The table `[log]`; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) log: LogSettings,
}

/// The table `[secrets]`.
#[derive(Debug, Deserialize)]
pub(crate) struct SecretsSettings {
    /// The table `[secrets.postgres]`.
    pub(crate) postgres: PostgresSettings,
    /// The table `[secrets.openbao]`.
    pub(crate) openbao: OpenBaoSettings,
    /// The table `[secrets.age]`; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) age: AgeSettings,
}

/// The table `[secrets.postgres]`.
#[derive(Debug, Deserialize)]
pub(crate) struct PostgresSettings {
    /// The server, and a role that may change passwords. It may have a password in it, and is masked as a whole.
    pub(crate) url: Secret,
    /// The password, where the URL has none.
    pub(crate) password: Secret,
}

const EXAMPLES: &str = "Examples:
  ops-secrets exec --env DATABASE_PASSWORD -- ./migrate.sh
  ops-secrets exec --file DATABASE_PASSWORD=/run/secrets/db -- psql -c 'select 1'
  ops-secrets exec --secret PGPASSWORD=openbao://kv/shop/db#password -- psql -c 'select 1'
  ops-secrets check -- ops-backup                  before a start: does it have all it needs?
  ops-secrets rotate postgres --role app_a --role app_b --folder /etc/app/db
  ops-secrets rotate openbao kv/shop/db --field password --folder /var/lib/shop-db
  ops-secrets due rotation.toml                    which secrets have to be rotated
  ops-secrets scan --staged                        before a commit
  ops-secrets scan --history --sarif scan.sarif    in CI, over everything that git has

Exit codes of `exec`: that of the command; 64 usage, 65 a secret cannot be read, 69 the command does not start, 128+N it died of signal N.
Exit codes of `scan`: 0 nothing that blocks, 20 a secret is found, 21 something could not be judged, 22 nothing was there to scan, 64 usage,
65 no repository, no such revision, bad file of suppressions, 69 git does not start, 73 a report cannot be written.";

/// Keep secrets out of terminals, logs and repositories
#[derive(Debug, Parser)]
#[command(name = "ops-secrets", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Run a command with secrets in its environment, masked in all that it prints
    Exec(ExecArgs),
    /// Print the `.env.example` of a program, made from its settings
    #[command(after_help = EXAMPLE_EXAMPLES)]
    Example(ExampleArgs),
    /// Say whether the committed `.env.example` is right, and whether the settings of a program load
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Print every setting of a program and where it came from, with secrets masked
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Give a secret a new value where it is issued, and publish it for those who use it
    Rotate(RotateArgs),
    /// Say which secrets have to be rotated
    #[command(after_help = DUE_EXAMPLES)]
    Due(DueArgs),
    /// Find secrets in files, in what is staged, or in all that a git repository has
    #[command(after_help = SCAN_EXAMPLES)]
    Scan(ScanArgs),
}

const EXAMPLE_EXAMPLES: &str = "Example:
  ops-secrets example --output .env.example -- ops-backup

The program is started with `--env-example` after its arguments, and answers with the text. The programs of this toolkit do; one of
your own does it with `ops_secrets::Example`.

Exit codes: 0 written, 64 usage, 65 the program gives no example, 69 it does not start, 73 the file cannot be written.";

const CHECK_EXAMPLES: &str = "Examples:
  ops-secrets check -- ops-backup                    before a start: the example is right, and the settings load
  ops-secrets check --example-only -- ops-backup     in CI, where there are no secrets

Exit codes: 0 all is right, 20 the example has drifted, a secret stands in it, or the settings do not load, 64 usage,
65 the example cannot be read, or the program gives none, 69 it does not start.";

const SHOW_EXAMPLES: &str = "Example:
  ops-secrets show -- ops-backup --config /etc/ops.toml

The program is started with `--show-config` after its arguments.

Exit codes: 0 shown, else that of the program; 69 it does not start.";

/// The arguments of `example`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExampleArgs {
    /// Write the example to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

/// The arguments of `check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CheckArgs {
    /// The example that was committed
    #[arg(long, value_name = "FILE", default_value = ".env.example")]
    pub(crate) example: PathBuf,
    /// Do not ask whether the settings load
    #[arg(long)]
    pub(crate) example_only: bool,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

/// The arguments of `show`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ShowArgs {
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

/// The arguments of `rotate`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RotateArgs {
    #[command(subcommand)]
    pub(crate) what: Rotated,
}

/// What is rotated.
#[derive(Debug, Subcommand)]
pub(crate) enum Rotated {
    /// The password of a PostgreSQL role, or of two roles that take turns
    #[command(after_help = POSTGRES_EXAMPLES)]
    Postgres(PostgresArgs),
    /// One field of an entry of OpenBao or Vault (KV version 2); the other fields are kept
    #[command(name = "openbao", after_help = OPENBAO_EXAMPLES)]
    OpenBao(OpenBaoArgs),
}

const POSTGRES_EXAMPLES: &str = "Examples:
  ops-secrets rotate postgres --role app_a --role app_b --folder /etc/app/db            shows what would be done
  ops-secrets rotate postgres --role app_a --role app_b --folder /etc/app/db --apply    does it

With two roles the one that is not in use gets the new password and comes into use, and the other keeps its own until the next
rotation: no login fails. With one role, logins with the old password fail until its users have read the new one.

FOLDER is laid out as a mounted volume of Kubernetes: `username` and `password` always belong together, and change at once. A
rotation that was cut off anywhere goes on when the command is run again.

Exit codes: 0 shown, or done and proven by a login; 20 the server refuses; 64 usage, 65 no such role, or its logins prove nothing,
69 the server does not answer, 74 the folder cannot be written, 75 another rotation runs, 78 no server is set.";

/// The arguments of `rotate postgres`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PostgresArgs {
    /// A role that logs in; two that take turns
    #[arg(long = "role", value_name = "ROLE", required = true)]
    pub(crate) roles: Vec<String>,
    /// Where the new user and password are published
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// The server, and a role that may change passwords [setting secrets.postgres.url]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Do it; without, the plan is shown and nothing changes
    #[arg(long)]
    pub(crate) apply: bool,
}

const OPENBAO_EXAMPLES: &str = "Examples:
  ops-secrets rotate openbao kv/shop/db --field password --folder /var/lib/shop-db            the plan
  ops-secrets rotate openbao kv/shop/db --field password --folder /var/lib/shop-db --apply    does it
  new-key | ops-secrets rotate openbao kv/api --field key --folder /var/lib/api --value-from - --apply

The entry is written if it still has the version that was seen, and read back. A change of somebody else in between is refused, and
their entry stays as it is. A rotation that was cut off anywhere goes on when the command is run again: FOLDER holds what that needs,
also the new value, until it is finished, and then the day, for `ops-secrets due`.

The server is that of [secrets.openbao], OPS_SECRETS_OPENBAO_ADDRESS, BAO_ADDR or VAULT_ADDR. One way to log in: a token (`token`,
OPS_SECRETS_OPENBAO_TOKEN or …_TOKEN_FILE, BAO_TOKEN), an AppRole (`role_id` with `secret_id`) or `kubernetes_role`.

Exit codes: 0 shown, or done and read back; 20 the server refuses, or somebody else has changed the entry; 64 usage, 65 no such entry
or field, no KV version 2, or a bad value; 69 the server does not answer, 74 the folder cannot be written, 75 another rotation runs,
78 no server or no way to log in is set.";

/// The arguments of `rotate openbao`.
#[derive(Debug, ClapArgs)]
pub(crate) struct OpenBaoArgs {
    /// The entry, as people write it: kv/shop/db, without `data/`
    #[arg(value_name = "PATH")]
    pub(crate) path: String,
    /// The field that gets a new value; it is there already, and is text
    #[arg(long, value_name = "FIELD")]
    pub(crate) field: String,
    /// Where a rotation that is cut off is continued from, and its day is noted; a folder for this field alone
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// A file with the new value, or `-` for standard input; one newline at its end is no part of it [default: 32 random characters]
    #[arg(long, value_name = "FILE")]
    pub(crate) value_from: Option<PathBuf>,
    /// The server [setting secrets.openbao.address]
    #[arg(long, value_name = "URL")]
    pub(crate) address: Option<String>,
    /// Do it; without, the plan is shown and nothing changes
    #[arg(long)]
    pub(crate) apply: bool,
}

const DUE_EXAMPLES: &str = "Example:
  ops-secrets due rotation.toml

The schedule:
  version = 1
  [[secret]]
  name = \"orders database\"
  owner = \"team-a\"
  every = \"90d\"
  folder = \"/etc/app/db\"        # where `rotate` publishes; else: rotated = 2026-10-01

Exit codes: 0 nothing is due, 20 something is overdue, 21 it cannot be told when something was rotated, 22 the schedule is empty,
65 it cannot be read.";

/// The arguments of `due`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DueArgs {
    /// The schedule
    #[arg(value_name = "FILE")]
    pub(crate) schedule: PathBuf,
}

impl Args {
    /// The flags that override settings.
    pub(crate) fn overrides(&self) -> Vec<Flag> {
        let flag = match &self.action {
            Some(Action::Rotate(RotateArgs { what: Rotated::Postgres(args) })) => {
                Flag::given("secrets.postgres.url", "--url", args.url.clone())
            }
            Some(Action::Rotate(RotateArgs { what: Rotated::OpenBao(args) })) => {
                Flag::given("secrets.openbao.address", "--address", args.address.clone())
            }
            _ => None,
        };
        flag.into_iter().collect()
    }
}

const SCAN_EXAMPLES: &str = "Examples:
  ops-secrets scan                                  this folder, as git sees it
  ops-secrets scan --staged                         what the next commit would bring
  ops-secrets scan --since origin/main              what a branch brings
  ops-secrets scan --history --known-env DB_PASSWORD    every object of the repository, and one password in all its forms
  kubectl logs pod | ops-secrets scan -             a stream

Exit codes: 0 nothing that blocks, 20 a secret is found, 21 something could not be judged, 22 nothing was there to scan.
The file .ops-secrets.toml at the root holds what the team has decided:
  version = 1
  [[suppress]]
  fingerprint = \"…\"           # as the report shows it
  owner = \"team-a\"
  reason = \"the key of a test server that was deleted\"
  expires = 2027-01-31";

/// The arguments of `scan`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ScanArgs {
    /// A folder, a file, or `-` for standard input
    #[arg(default_value = ".", value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Also every object of the repository: all versions, messages, stashes, what nothing refers to any more
    #[arg(long, group = "what")]
    pub(crate) history: bool,
    /// Only what is staged for the next commit
    #[arg(long, group = "what")]
    pub(crate) staged: bool,
    /// Only what HEAD has and this revision has not
    #[arg(long, group = "what", value_name = "REV")]
    pub(crate) since: Option<String>,
    /// Also files that git ignores
    #[arg(long)]
    pub(crate) ignored: bool,
    /// Leave out files of the working tree and of the index whose path fits; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// A variable of our environment whose value may stand nowhere, in none of its forms
    #[arg(long, value_name = "NAME")]
    pub(crate) known_env: Vec<String>,
    /// A file whose content may stand nowhere; one newline at its end is no part of it
    #[arg(long, value_name = "NAME=PATH")]
    pub(crate) known_file: Vec<String>,
    /// A secret that a reference leads to (`openbao://kv/shop/db#password`) and that may stand nowhere
    #[arg(long, value_name = "NAME=REFERENCE")]
    pub(crate) known_secret: Vec<String>,
    /// Likely findings block too
    #[arg(long)]
    pub(crate) strict: bool,
    /// What the team has decided [default: .ops-secrets.toml in PATH, where it exists]
    #[arg(long, value_name = "FILE")]
    pub(crate) suppressions: Option<PathBuf>,
    /// Findings of this baseline do not block
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Write a baseline of all that is found, and block on nothing
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    pub(crate) write_baseline: Option<PathBuf>,
    /// A file with a key for the fingerprints: without it nobody can test a guess against one
    #[arg(long, value_name = "FILE")]
    pub(crate) fingerprint_key: Option<PathBuf>,
    /// Also write the report as SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    pub(crate) sarif: Option<PathBuf>,
    /// Write annotations for GitHub's workflows instead of text
    #[arg(long)]
    pub(crate) github: bool,
    /// Hold objects and unpacked archives up to this size in memory; a larger archive is not judged
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_size: u32,
}

/// The arguments of `exec`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExecArgs {
    /// A variable of our environment that is secret: passed on, and masked
    #[arg(long = "env", value_name = "NAME")]
    pub(crate) variables: Vec<String>,
    /// A secret in a file, given to the command as the variable NAME; one newline at its end is no part of it
    #[arg(long = "file", value_name = "NAME=PATH")]
    pub(crate) files: Vec<String>,
    /// A secret that a reference leads to (`openbao://kv/shop/db#password`), given to the command as the variable NAME
    #[arg(long = "secret", value_name = "NAME=REFERENCE")]
    pub(crate) secrets: Vec<String>,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Reads `NAME=…`; None where it is something else.
pub(crate) fn named(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_file_needs_a_name_and_a_path() {
        for (word, expected) in [("A=/b=c", Some("/b=c")), ("A", None), ("=b", None), ("A=", None)] {
            assert_eq!(named(word).map(|(_, path)| path), expected, "{word}");
        }
    }
}

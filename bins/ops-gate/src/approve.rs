//! `approve`: a person's yes or no about a commit or artifact, signed with their own key.

use clap::Args;
use jiff::Timestamp;
use ops_cli::{Exit, Failure, Format, output};
use ops_core::evidence::SigningKey;
use ops_gates::{Decision, Span, Subject};
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;

/// What is decided, and by whom.
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The full name of the commit that it is about
    #[arg(long, value_name = "COMMIT", required_unless_present = "digest")]
    commit: Option<String>,
    /// The digest of the artifact that it is about, as sha256:… or sha512:…
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    /// The name of the subject, as the plan has it
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// The environment that it is for
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// How long it holds, such as `2d`
    #[arg(long = "for", value_name = "TIME")]
    time: Span,
    /// Say no: while it holds it blocks, whoever says yes
    #[arg(long, conflicts_with = "incident")]
    reject: bool,
    /// The incident because of which a window may be opened out of hours
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    /// Your name, as the list of approvers has it
    #[arg(long, value_name = "NAME")]
    approver: String,
    /// Your private key (ed25519, PKCS#8 PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where it goes; a gate of kind `approval` or `window` finds it there
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// Signs it into a new file.
pub(crate) fn run(args: ApproveArgs, format: Format) -> Result<Exit, Failure> {
    let hex =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let usage = |what: String, hint: &str| Failure::new(Exit::Usage, what).hint(hint);
    let mut subject = Subject { name: args.subject, digest: [].into() };
    if let Some(commit) = args.commit {
        // A short name may become another commit's as well.
        if !(hex(&commit) && matches!(commit.len(), 40 | 64)) {
            let hint = "`git rev-parse HEAD` prints the full name";
            return Err(usage(format!("`{commit}` is not the full name of a commit"), hint));
        }
        subject.digest.insert("gitCommit".to_owned(), commit);
    }
    if let Some(digest) = args.digest {
        let parts = digest.split_once(':').filter(|(algorithm, text)| {
            hex(text) && matches!((*algorithm, text.len()), ("sha256", 64) | ("sha512", 128))
        });
        let Some((algorithm, text)) = parts else {
            let hint = "write `sha256:` or `sha512:` and the digest in hexadecimal digits";
            return Err(usage(format!("`{digest}` is not a digest"), hint));
        };
        subject.digest.insert(algorithm.to_owned(), text.to_owned());
    }
    let decision = Decision {
        approver: args.approver,
        subject,
        approve: !args.reject,
        reason: args.reason,
        environment: args.environment,
        expires_in: args.time,
        incident: args.incident,
    };
    let key = SigningKey::from_file(&args.key).map_err(|error| Failure::from_error(Exit::Input, &error))?;
    let bytes =
        decision.sign(&key, Timestamp::now()).map_err(|error| Failure::from_error(Exit::Usage, &error))?;
    let written = std::fs::File::create_new(&args.output).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written.map_err(|error| {
        Failure::new(Exit::CannotCreate, format!("cannot write {}: {error}", args.output.display()))
    })?;
    let word = if decision.approve { "approved" } else { "rejected" };
    let digests: Vec<String> =
        decision.subject.digest.iter().map(|(algorithm, text)| format!("{algorithm}:{text}")).collect();
    let told = match format {
        Format::Json => output::json(&json!({
            "schema": "ops-gate/approve/v1",
            "decision": word,
            "approver": decision.approver,
            "subject": decision.subject,
            "environment": decision.environment,
            "incident": decision.incident,
            "for": decision.expires_in,
            "key": key.verifying_key().id(),
            "file": args.output,
        })),
        Format::Text => {
            let meant = decision.environment.map(|name| format!(" for {name}")).unwrap_or_default();
            let incident =
                decision.incident.map(|id| format!(", because of incident {id}")).unwrap_or_default();
            output::text(&format!(
                "{word} {}{meant}{incident}, for {}, signed by {}: {}",
                digests.join(" "),
                decision.expires_in,
                decision.approver,
                args.output.display()
            ))
        }
    };
    told.map_err(|error| Failure::new(Exit::Io, format!("cannot write to stdout: {error}")))?;
    Ok(Exit::Done)
}

//! `rotate openbao`: one field of an entry of KV version 2 gets a new value, by check-and-set.

use crate::args::{OpenBaoArgs, Settings};
use crate::rotate::{AGAIN, failure, generate, stdout, told};
use ops_cli::{Context, Exit, Failure, Format, output, sources};
use ops_secrets::rotate::ErrorKind;
use ops_secrets::rotate::change::Record;
use ops_secrets::rotate::change::entry::{Done, Plan, Store as _, Wanted, apply, plan};
use ops_secrets::vault::{Vault, VaultOptions};
use ops_secrets::{Masker, Secret};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

/// The most bytes that a value may have: what a masker masks.
const LARGEST: u64 = 16 * 1024;

/// The answer of `rotate openbao`: its shape is a promise.
#[derive(Serialize)]
struct Rotation<'a> {
    schema: &'static str,
    target: String,
    folder: String,
    entry: &'a str,
    field: &'a str,
    version: u64,
    kept: Vec<String>,
    resumes: bool,
    overtaken: bool,
    applied: bool,
    new_version: Option<u64>,
    record: Option<Record>,
}

pub(crate) async fn run(args: OpenBaoArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let options = options(context)?;
    // A token that somebody gave is theirs; one of a login of ours is revoked when we are done.
    let ours = sources::is_own_login(&options);
    let vault = Vault::new(options).map_err(|error| Failure::from_error(Exit::Config, &error))?;
    let end = rotate(&args, &vault, context).await;
    if ours && let Err(error) = vault.log_out().await {
        tracing::debug!(%error, "the token of this run is not revoked, and ends by itself");
    }
    end
}

async fn rotate(args: &OpenBaoArgs, vault: &Vault, context: &Context<Settings>) -> Result<Exit, Failure> {
    let value = args.value_from.as_deref().map(|path| value(path, &context.masker)).transpose()?;
    let wanted = Wanted { path: args.path.clone(), field: args.field.clone(), value };
    let plan = plan(vault, &args.folder, wanted).await.map_err(|error| failure(&error))?;
    let mut rotation = Rotation {
        schema: "ops-secrets/rotate-openbao/v1",
        target: vault.name(),
        folder: args.folder.display().to_string(),
        entry: &args.path,
        field: &args.field,
        version: plan.version(),
        kept: plan.kept().into_iter().map(str::to_owned).collect(),
        resumes: plan.resumes(),
        overtaken: plan.overtaken(),
        applied: false,
        new_version: None,
        record: None,
    };
    if args.apply {
        if context.format == Format::Text {
            output::text(&text(&rotation)).map_err(stdout)?;
        }
        let done = work(args, vault, plan, context).await?;
        (rotation.applied, rotation.new_version) = (true, Some(done.version));
        rotation.record = Some(done.record);
    }
    let (path, field) = (&args.path, &args.field);
    let written = match (context.format, rotation.new_version) {
        (Format::Json, _) => output::json(&rotation),
        (Format::Text, Some(version)) => output::text(&format!(
            "done     {path} is at version {version}, and its field `{field}` was read back"
        )),
        (Format::Text, None) => {
            output::text(&format!("{}\nnothing was changed; --apply does it", text(&rotation).trim_end()))
        }
    };
    written.map_err(stdout)?;
    Ok(Exit::Done)
}

async fn work(
    args: &OpenBaoArgs,
    vault: &Vault,
    plan: Plan,
    context: &Context<Settings>,
) -> Result<Done, Failure> {
    let (name, account, new) = (vault.name(), format!("{}#{}", args.path, args.field), generate()?);
    let told = |step| told(&name, &account, step, context);
    let end = apply(vault, plan, &context.masker, SystemTime::now(), || new, told).await;
    end.map_err(|error| {
        failure(&error).hint(match error.kind() {
            ErrorKind::Refused => {
                "nothing of others was changed; look at the entry, then run the command again"
            }
            _ => AGAIN,
        })
    })
}

fn text(rotation: &Rotation<'_>) -> String {
    let Rotation { target, folder, entry, field, version, kept, .. } = rotation;
    let mut text = format!("target   {target}\nfolder   {folder}\nentry    {entry}, version {version}\n");
    let _ = writeln!(text, "field    {field} gets a new value, if the entry still has this version");
    match kept.is_empty() {
        true => text.push_str("kept     there is no other field\n"),
        false => {
            let _ = writeln!(text, "kept     {}", kept.join(", "));
        }
    }
    if rotation.overtaken {
        text.push_str(
            "given up an earlier rotation was cut off, and somebody else has changed the entry since\n",
        );
    } else if rotation.resumes {
        text.push_str("resumes  an earlier rotation was cut off, and its value is used\n");
    }
    text
}

/// Where the server is and how to log in.
fn options(context: &Context<Settings>) -> Result<VaultOptions, Failure> {
    let hint = "give --address https://vault.example:8200, or set OPS_SECRETS_OPENBAO_ADDRESS or BAO_ADDR, or `address` under [secrets.openbao]";
    let options = sources::openbao(&context.settings.secrets.openbao, &context.masker)
        .ok_or_else(|| Failure::new(Exit::Config, "no server is named").hint(hint))?;
    options.map_err(|error| {
        Failure::from_error(Exit::Config, &error)
            .hint("`ops-secrets rotate openbao --help` names the settings of the server and its logins")
    })
}

/// The new value from a file or from standard input.
fn value(path: &Path, masker: &Masker) -> Result<Secret, Failure> {
    let shown = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let fail = |what: &str| Failure::new(Exit::Input, format!("the value in {shown} {what}"));
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().take(LARGEST + 3).read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|file| file.take(LARGEST + 3).read_to_end(&mut bytes)),
    };
    read.map_err(|error| fail(&format!("cannot be read: {error}")))?;
    let mut text = String::from_utf8(bytes).map_err(|_| fail("is no text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(fail("is empty"));
    }
    if text.len() as u64 > LARGEST {
        return Err(fail(&format!("has more than {LARGEST} bytes, and could not be masked")));
    }
    masker.register("the new value", &text);
    if masker.unmaskable().iter().any(|name| name == "the new value") {
        return Err(fail("is too short to be masked").hint("use one of at least 8 characters"));
    }
    Ok(Secret::from(text))
}

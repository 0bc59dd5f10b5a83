//! `keygen`: a key pair in two new files.

use crate::args::KeygenArgs;
use crate::words::{failed, unwritten};
use ops_cli::{Exit, Failure, Format, output};
use ops_core::evidence::SigningKey;
use serde_json::json;

/// Makes the key and writes both halves.
pub(crate) fn run(args: &KeygenArgs, format: Format) -> Result<Exit, Failure> {
    // Looked at before, so that no private key is left alone where its public half cannot be written.
    for path in [&args.out, &args.public] {
        if std::fs::symlink_metadata(path).is_ok() {
            let message = format!("{} is there already, and a key is never overwritten", path.display());
            return Err(Failure::new(Exit::CannotCreate, message));
        }
    }
    if args.out == args.public {
        return Err(Failure::new(Exit::Usage, "both keys would be the same file"));
    }
    let key = SigningKey::generate().map_err(|error| failed(&error))?;
    let public = key.verifying_key();
    let written = key.write_file(&args.out).and_then(|()| public.write_file(&args.public));
    written.map_err(|error| failed(&error).with_exit(Exit::CannotCreate))?;
    let told = match format {
        Format::Json => output::json(&json!({
            "schema": "ops-guard/keygen/v1",
            "id": public.id(),
            "private": args.out,
            "public": args.public,
        })),
        Format::Text => output::text(&format!(
            "The key {} is in {} (private, mode 0600) and {} (public).",
            public.id(),
            args.out.display(),
            args.public.display()
        )),
    };
    told.map_err(unwritten)?;
    Ok(Exit::Done)
}

//! Gives one field of an entry a new value, where the entry stands in a store that keeps versions: KV version 2 of OpenBao or
//! Vault. Those who use it read it there, so nothing is published elsewhere.
//!
//! Order of steps: (1) *prepared*: the new value and the version that was seen stand in `..pending` of a folder of this machine,
//! on the disk; (2) *set*: all fields are written, one of them changed, if the entry still has that version; (3) *verified*: it is
//! read back; (4) *finished*: `..rotated.json` says when, for the schedule, and `..pending` is gone.
//!
//! A crash after any step loses nothing and changes nothing twice. The next run finds `..pending` and looks at the entry. At the
//! version that was seen, the same value is written; where the field has the value, it was written, and is verified; anything
//! else is a change of somebody else, and the rotation is *given up*: the entry stays as they left it.
//!
//! The note is a file and no metadata of the entry: a policy for the entry alone suffices, a value that was given is not needed a
//! second time, and `due` reads the record without a server. Two machines that rotate one entry refuse each other by its version.

use super::Step;
use super::folder::{Folder, Record, Versioned};
use crate::mask::Masker;
use crate::rotate::error::{Error, ErrorKind};
use crate::rotate::provider::Work;
use crate::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

/// What stands at a path, and as which version.
pub struct Found {
    /// The version, which grows with each write.
    pub version: u64,
    /// All fields with their values.
    pub fields: Map<String, Value>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A store whose entries have versions.
///
/// Contract: `write` takes effect as a whole or not at all, and only on the version that was seen, whose successor it makes;
/// an error may also mean that it took effect. What it wrote, the next `read` sees. No error holds a value.
pub trait Store: Send + Sync {
    /// Returns what a person would call the store.
    fn name(&self) -> String;

    /// Reads an entry: this version, else the newest. A store without versions is [`ErrorKind::Invalid`].
    fn read<'a>(&'a self, path: &'a str, version: Option<u64>) -> Work<'a, Found>;

    /// Replaces all fields, and returns whether it did: not, where the entry has another version than the one seen.
    fn write<'a>(&'a self, path: &'a str, fields: &'a Map<String, Value>, seen: u64) -> Work<'a, bool>;
}

/// Which field of which entry gets which value.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The entry, as people write it: `kv/shop/db`.
    pub path: String,
    /// The field, which is there already and is text.
    pub field: String,
    /// The value; without it one is generated.
    pub value: Option<Secret>,
}

/// What stands in the file of what is pending.
#[derive(Deserialize)]
struct Pending {
    version: u32,
    server: String,
    entry: String,
    seen: u64,
    generation: u64,
    value: Secret,
}

impl Versioned for Pending {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Pending {
    fn note(&self) -> Value {
        let Self { version, server, entry, seen, generation, value } = self;
        let value = value.expose_secret();
        json!({ "version": version, "server": server, "entry": entry, "seen": seen, "generation": generation, "value": value })
    }

    fn put_into(&self, mut fields: Map<String, Value>, field: &str) -> Map<String, Value> {
        fields.insert(field.to_owned(), Value::from(self.value.expose_secret().as_str()));
        fields
    }

    fn is_value(&self, other: Option<&Value>) -> bool {
        other.and_then(Value::as_str) == Some(self.value.expose_secret())
    }
}

/// What a rotation will do. It holds the folder's lock where there is one, so nobody else of this machine plans meanwhile.
pub struct Plan {
    folder: Folder,
    wanted: Wanted,
    found: Found,
    before: Option<Record>,
    pending: Option<Pending>,
}

impl Plan {
    /// Returns the version of the entry that was seen.
    pub fn version(&self) -> u64 {
        self.found.version
    }

    /// Returns the names of the fields that keep their values.
    pub fn kept(&self) -> Vec<&str> {
        self.found.fields.keys().map(String::as_str).filter(|name| *name != self.wanted.field).collect()
    }

    /// Returns whether an earlier rotation was cut off, and this one goes on with its value.
    pub fn resumes(&self) -> bool {
        self.pending.is_some()
    }

    /// Returns whether the earlier rotation was overtaken by a change of somebody else, so that it is given up.
    pub fn overtaken(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| {
            pending.seen != self.found.version && !pending.is_value(self.found.fields.get(&self.wanted.field))
        })
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("wanted", &self.wanted)
            .field("found", &self.found)
            .field("resumes", &self.resumes())
            .finish_non_exhaustive()
    }
}

/// A rotation that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What the schedule reads.
    pub record: Record,
    /// The version of the entry that was read back.
    pub version: u64,
}

/// Looks at the entry and at what an earlier rotation left in the folder; changes nothing and makes no file.
///
/// # Errors
/// [`ErrorKind::Invalid`] where the field cannot be replaced, or the folder belongs to another entry or a rotation with
/// another value; [`ErrorKind::Missing`] without entry or field; [`ErrorKind::Busy`], [`ErrorKind::Io`]; the store's own.
pub async fn plan(store: &dyn Store, folder: &Path, wanted: Wanted) -> Result<Plan, Error> {
    let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
    let path = &wanted.path;
    if !is_path(path) {
        return invalid(format!("`{path}` is no path of an entry, such as kv/shop/db"));
    }
    let entry = name(&wanted);
    let folder = Folder::look(folder)?;
    let (before, pending) = (folder.record()?, folder.note::<Pending>()?);
    if let Some(other) = before.as_ref().filter(|record| record.account != entry) {
        return invalid(format!(
            "the folder belongs to {}: each field has a folder of its own",
            other.account
        ));
    }
    if let Some(cut) = &pending {
        if (cut.entry.as_str(), cut.server.as_str()) != (entry.as_str(), store.name().as_str()) {
            let Pending { entry, server, .. } = cut;
            return invalid(format!(
                "a rotation of {entry} at {server} was cut off; name it to go on with it"
            ));
        }
        if wanted.value.as_ref().is_some_and(|value| value.expose_secret() != cut.value.expose_secret()) {
            return invalid(format!(
                "a rotation of {entry} with another value was cut off; give none to go on"
            ));
        }
    }
    let found = store.read(path, None).await?;
    if pending.as_ref().is_none_or(|pending| pending.seen == found.version) {
        replaceable(&wanted, &found)?;
    }
    Ok(Plan { folder, wanted, found, before, pending })
}

/// Does what was planned. `generate` makes the new value where none was given; `told` hears of each step after it is done, and
/// ends the rotation there by an error, for example where the step cannot be audited.
///
/// # Errors
/// [`ErrorKind::Refused`] where somebody else has changed the entry, and then nothing is left to go on with; the store's,
/// `told`'s, [`ErrorKind::Io`] and [`ErrorKind::Busy`], after which a next run goes on where this one ended.
pub async fn apply(
    store: &dyn Store,
    plan: Plan,
    masker: &Masker,
    now: SystemTime,
    generate: impl FnOnce() -> Secret,
    mut told: impl FnMut(Step) -> Result<(), Error>,
) -> Result<Done, Error> {
    let Plan { mut folder, wanted, found, before, pending } = plan;
    if !folder.hold()? {
        let other = folder.note::<Pending>()?.map(|other| (other.seen, other.generation));
        let planned = pending.as_ref().map(|pending| (pending.seen, pending.generation));
        if other != planned || folder.record()? != before {
            return Err(folder.busy("another rotation worked in it meanwhile"));
        }
    }
    let (path, field) = (&wanted.path, &wanted.field);
    let pending = match pending {
        Some(pending) => pending,
        None => {
            let generation = before.map_or(0, |record| record.generation) + 1;
            let value = wanted.value.clone().unwrap_or_else(generate);
            let (server, entry, seen) = (store.name(), name(&wanted), found.version);
            let pending = Pending { version: 1, server, entry, seen, generation, value };
            folder.put_note(&pending.note())?;
            pending
        }
    };
    masker.register(&pending.entry, pending.value.expose_secret());
    told(Step::Prepared)?;
    let mut sent = None;
    if found.version == pending.seen {
        let fields = pending.put_into(found.fields, field);
        if store.write(path, &fields, pending.seen).await? {
            told(Step::Set)?;
            sent = Some(fields);
        }
    }
    let there = store.read(path, None).await?;
    if there.version == pending.seen {
        let message = format!("{path}: the new version is not to be seen yet");
        return Err(Error::new(ErrorKind::Unavailable, message));
    }
    if there.version < pending.seen || !pending.is_value(there.fields.get(field)) {
        let error = overtaken(store, &wanted, &pending, there.version).await;
        told(Step::GivenUp)?;
        folder.forget()?;
        return Err(error);
    }
    let written = sent.is_some();
    if there.version == pending.seen + 1 {
        let expected = match sent {
            Some(sent) => Some(sent),
            None => before_ours(store, &wanted, &pending).await?,
        };
        if expected.is_some_and(|expected| expected != there.fields) {
            let message = format!("{path}: version {} is not what was written", there.version);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    }
    if !written {
        // An earlier run wrote it and could not tell.
        told(Step::Set)?;
    }
    told(Step::Verified)?;
    let record = Record::new(pending.entry, pending.generation, now);
    folder.conclude(&record)?;
    told(Step::Finished)?;
    Ok(Done { record, version: there.version })
}

/// What an earlier run must have written; None where the version that it saw is no longer kept.
async fn before_ours(
    store: &dyn Store,
    wanted: &Wanted,
    pending: &Pending,
) -> Result<Option<Map<String, Value>>, Error> {
    match store.read(&wanted.path, Some(pending.seen)).await {
        Ok(seen) => Ok(Some(pending.put_into(seen.fields, &wanted.field))),
        Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

/// What became of the new value, where the entry has another one.
async fn overtaken(store: &dyn Store, wanted: &Wanted, pending: &Pending, version: u64) -> Error {
    let (path, next) = (&wanted.path, pending.seen + 1);
    let ours = match version > next {
        true => store.read(path, Some(next)).await.ok(),
        false => None,
    };
    let fate = match ours.is_some_and(|ours| pending.is_value(ours.fields.get(&wanted.field))) {
        true => format!("version {next} has the new value, and is no longer the newest"),
        false => "the new value is not in use".to_owned(),
    };
    let message =
        format!("{path}: somebody else has changed it from version {} to {version}; {fate}", pending.seen);
    Error::new(ErrorKind::Refused, message)
}

/// The field can be replaced, and all others can be written back as they are.
fn replaceable(wanted: &Wanted, found: &Found) -> Result<(), Error> {
    let Wanted { path, field, value } = wanted;
    let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
    match found.fields.get(field) {
        None => return Err(Error::new(ErrorKind::Missing, format!("{path} has no field `{field}`"))),
        Some(Value::String(old)) if value.as_ref().is_some_and(|value| value.expose_secret() == old) => {
            return invalid(format!("{path}: the field `{field}` has this value already"));
        }
        Some(Value::String(_)) => {}
        Some(_) => return invalid(format!("{path}: the field `{field}` is no text")),
    }
    match found.fields.iter().find(|(_, value)| !is_exact(value)) {
        Some((name, _)) => invalid(format!(
            "{path}: the field `{name}` holds a number that cannot be written back as it is; make it text"
        )),
        None => Ok(()),
    }
}

/// Whether a value is the same after it was read and written: integers of 64 bits are, other numbers may lose digits.
fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::Array(values) => values.iter().all(is_exact),
        Value::Object(values) => values.values().all(is_exact),
        _ => true,
    }
}

/// A mount and something in it; no query, which would be read as a version.
fn is_path(path: &str) -> bool {
    let odd = |part: &str| matches!(part, "" | "." | "..");
    path.contains('/') && !path.split('/').any(odd) && !path.contains(|c: char| c == '?' || c.is_control())
}

fn name(wanted: &Wanted) -> String {
    format!("{}#{}", wanted.path, wanted.field)
}

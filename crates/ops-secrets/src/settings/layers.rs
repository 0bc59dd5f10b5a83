//! The layers of settings, read in their order: each lies over those before it.

use super::loader::Flag;
use super::profile::Profile;
use super::values::secret_texts;
use crate::error::{Error, ErrorKind, Problem};
use crate::file::exposure;
use crate::schema::Schema;
use crate::source::{Gathered, Mount, Mounted, TomlText, Variables, from_text, is_foreign};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where settings may come from, lowest first.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) defaults: String,
    pub(super) file: Option<PathBuf>,
    pub(super) profile: Option<Profile>,
    pub(super) dotenv: Option<PathBuf>,
    pub(super) mounted: Vec<(PathBuf, Mount)>,
    pub(super) variables: Variables,
    pub(super) flags: Vec<Flag>,
    /// The prefix of variables.
    pub(super) prefix: String,
    /// Tables of other programs.
    pub(super) foreign: Vec<String>,
}

impl Layers {
    /// Reads all layers; a file that cannot be read at all ends up in the second place, beside what the others gave.
    pub(super) fn gather(&self, schema: &Schema) -> Result<(Gathered, Option<Error>), Error> {
        let mut gathered = Gathered::default();
        TomlText { text: &self.defaults, file: None, foreign: &self.foreign }.gather(schema, &mut gathered);
        if let Some(problem) = gathered.problems.first() {
            return Err(Error::new(ErrorKind::InvalidDefinition, problem.to_string()));
        }
        let unreadable = [
            self.file.as_deref().and_then(|path| self.gather_toml(path, schema, &mut gathered).err()),
            self.gather_profile(schema, &mut gathered).err(),
            self.dotenv.as_deref().and_then(|path| self.gather_dotenv(path, schema, &mut gathered).err()),
        ];
        for (folder, mount) in &self.mounted {
            let (prefix, foreign) = (self.prefix.as_str(), self.foreign.as_slice());
            Mounted { folder, mount: *mount, prefix, foreign }.gather(schema, &mut gathered);
        }
        self.variables.gather(schema, &self.foreign, &mut gathered);
        self.gather_flags(schema, &mut gathered);
        Ok((gathered, unreadable.into_iter().flatten().next()))
    }

    fn gather_toml(&self, path: &Path, schema: &Schema, into: &mut Gathered) -> Result<(), Error> {
        let Some(text) = read_text(path, into)? else { return Ok(()) };
        let name = path.display().to_string();
        let before = into.given.len();
        TomlText { text: &text, file: Some(name), foreign: &self.foreign }.gather(schema, into);
        warn_exposed(path, before, schema, into)
    }

    /// The file of the profile, where there is one; it may carry either name of the profile, but not both.
    fn gather_profile(&self, schema: &Schema, into: &mut Gathered) -> Result<(), Error> {
        let (Some(file), Some(profile)) = (&self.file, self.profile) else { return Ok(()) };
        let there = profile.files_beside(file).into_iter().filter(|path| path.exists()).collect::<Vec<_>>();
        if let [one, other] = there.as_slice() {
            let message = format!(
                "{} and {} are both files of profile {profile}; remove one",
                one.display(),
                other.display()
            );
            into.problems.push(Problem::new(ErrorKind::Conflict, message));
            return Ok(());
        }
        there.first().map_or(Ok(()), |path| self.gather_toml(path, schema, into))
    }

    fn gather_dotenv(&self, path: &Path, schema: &Schema, into: &mut Gathered) -> Result<(), Error> {
        if let Some(profile) = self.profile.filter(|profile| *profile != Profile::Dev) {
            let message =
                format!("{} is not read: `.env` files belong to profile dev, not {profile}", path.display());
            into.problems.push(Problem::new(ErrorKind::Conflict, message));
            return Ok(());
        }
        let Some(text) = read_text(path, into)? else { return Ok(()) };
        let before = into.given.len();
        let name = path.display().to_string();
        Variables::of_file(&self.prefix, &text, &name, into).gather(schema, &self.foreign, into);
        warn_exposed(path, before, schema, into)
    }

    fn gather_flags(&self, schema: &Schema, into: &mut Gathered) {
        for Flag { key, value, name } in &self.flags {
            let origin = format!("flag {name}");
            let Some(setting) = schema.find(key) else {
                if !is_foreign(key, &self.foreign) {
                    into.refuse(ErrorKind::InvalidDefinition, key, &origin, "there is no such setting");
                }
                continue;
            };
            match from_text(value, &setting.node) {
                Ok(value) => into.give(key, &origin, value),
                Err(why) => into.refuse(ErrorKind::InvalidValue, key, &origin, why),
            }
        }
    }
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| {
        Error::new(ErrorKind::Unreadable, format!("{} cannot be read", path.display())).caused_by(error)
    }
}

/// The text of a file; what is not UTF-8 is a problem among others.
fn read_text(path: &Path, into: &mut Gathered) -> Result<Option<Zeroizing<String>>, Error> {
    let bytes = Zeroizing::new(fs::read(path).map_err(unreadable(path))?);
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
        Err(_) => {
            let message = format!("{} is not UTF-8", path.display());
            into.problems.push(Problem::new(ErrorKind::Syntax, message));
            Ok(None)
        }
    }
}

/// Warns where others have a hand in a file from which a secret came.
fn warn_exposed(path: &Path, before: usize, schema: &Schema, into: &mut Gathered) -> Result<(), Error> {
    let holds_secret = into.given[before..].iter().any(|given| {
        let setting = schema.find(&given.key);
        setting.is_some_and(|setting| {
            secret_texts(&given.value, &setting.node).iter().any(|text| !text.is_empty())
        })
    });
    if holds_secret {
        let metadata = fs::metadata(path).map_err(unreadable(path))?;
        into.warn_exposed(path, exposure(&metadata));
    }
    Ok(())
}

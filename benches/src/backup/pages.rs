//! Pages of 8 KiB in a data directory: which ones changed, what they compress to, and damage on purpose.
//!
//! Only relation files count (names that begin with a digit, below `base` and `global`): what else lies in a data
//! directory is small, and differs between any two restores.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The size of a page, as PostgreSQL is built almost everywhere.
const PAGE: usize = 8192;

/// How many pages are read at once.
const AT_ONCE: usize = 128;

/// One in so many pages is damaged.
const DAMAGED: u64 = 100;

/// A fingerprint of every page, by file.
#[derive(Debug)]
pub(crate) struct Pages(BTreeMap<PathBuf, Vec<u64>>);

/// What differs between two states of a data directory.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Pages that are new or differ.
    pub(crate) pages: u64,
    /// All pages of the later state.
    pub(crate) of: u64,
    /// What the changed pages compress to as one stream, zstd level 3.
    pub(crate) compressed: u64,
}

impl Pages {
    /// Reads every relation file; this also brings them all into the page cache.
    pub(crate) fn of(data: &Path) -> Result<Self> {
        let mut pages = BTreeMap::new();
        for file in relation_files(data)? {
            let mut prints = Vec::new();
            each_page(&data.join(&file), |page| {
                prints.push(print(page));
                Ok(())
            })?;
            pages.insert(file, prints);
        }
        Ok(Self(pages))
    }

    /// The pages of all files.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().map(|prints| prints.len() as u64).sum()
    }

    /// Files.
    pub(crate) fn files(&self) -> usize {
        self.0.len()
    }

    /// How many pages differ, or exist on one side alone.
    pub(crate) fn differing(&self, other: &Self) -> u64 {
        let one_sided = |a: &Self, b: &Self| -> u64 {
            let missing = a.0.iter().filter(|(file, _)| !b.0.contains_key(*file));
            missing.map(|(_, prints)| prints.len() as u64).sum()
        };
        let both = self.0.iter().filter_map(|(file, prints)| Some((prints, other.0.get(file)?)));
        let within = both.map(|(a, b)| {
            let unequal = a.iter().zip(b).filter(|(a, b)| a != b).count();
            (unequal + a.len().abs_diff(b.len())) as u64
        });
        within.sum::<u64>() + one_sided(self, other) + one_sided(other, self)
    }

    /// Reads the directory again, and says what changed; becomes the later state.
    pub(crate) fn update(&mut self, data: &Path) -> Result<Changed> {
        let mut changed = Changed::default();
        let mut stream = zstd::Encoder::new(Count(0), 3)?;
        let mut later = BTreeMap::new();
        for file in relation_files(data)? {
            let before = self.0.get(&file).map_or(&[][..], Vec::as_slice);
            let mut prints: Vec<u64> = Vec::new();
            each_page(&data.join(&file), |page| {
                let now = print(page);
                if before.get(prints.len()) != Some(&now) {
                    changed.pages += 1;
                    stream.write_all(page)?;
                }
                prints.push(now);
                Ok(())
            })?;
            changed.of += prints.len() as u64;
            later.insert(file, prints);
        }
        changed.compressed = stream.finish()?.0;
        self.0 = later;
        Ok(changed)
    }
}

/// Flips a bit in one of a hundred pages, chosen by the seed and the file's name: the same ones in every copy. Returns
/// how many.
pub(crate) fn damage(data: &Path, seed: usize) -> Result<u64> {
    let mut damaged = 0;
    for file in relation_files(data)? {
        let path = data.join(&file);
        let open = File::options().read(true).write(true).open(&path);
        let open = open.with_context(|| format!("{} cannot be opened", path.display()))?;
        for page in 0..open.metadata()?.len() / PAGE as u64 {
            let mut hasher = DefaultHasher::new();
            (seed, &file, page).hash(&mut hasher);
            let chance = hasher.finish();
            if chance.is_multiple_of(DAMAGED) {
                let at = page * PAGE as u64 + (chance / DAMAGED) % PAGE as u64;
                let mut byte = [0];
                open.read_exact_at(&mut byte, at)?;
                open.write_all_at(&[byte[0] ^ 0x10], at)?;
                damaged += 1;
            }
        }
    }
    Ok(damaged)
}

/// The bytes of all files in a folder; what is gone meanwhile counts nothing.
pub(crate) fn size(folder: &Path, leave_out: &[&str]) -> Result<u64> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?;
    let mut total = 0;
    for entry in entries {
        let entry = entry?;
        if leave_out.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        total += if meta.is_dir() { size(&entry.path(), &[])? } else { meta.len() };
    }
    Ok(total)
}

/// The relation files below a data directory, as relative paths in order.
pub(crate) fn relation_files(data: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = vec![PathBuf::from("global")];
    for entry in fs::read_dir(data.join("base"))? {
        folders.push(Path::new("base").join(entry?.file_name()));
    }
    let mut files = Vec::new();
    for folder in folders {
        let path = data.join(&folder);
        if !path.is_dir() {
            continue;
        }
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            if name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
                files.push(folder.join(name));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Hands over each page; the last one of a file may be shorter.
fn each_page(file: &Path, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut open = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut buffer = vec![0; PAGE * AT_ONCE];
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match open.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        buffer[..filled].chunks(PAGE).try_for_each(&mut take)?;
        if filled < buffer.len() {
            return Ok(());
        }
    }
}

fn print(page: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(page);
    hasher.finish()
}

/// Counts what is written to it.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

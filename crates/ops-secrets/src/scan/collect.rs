//! What one worker finds: objects go in, secrets with their places are kept.

use super::detect::{Detector, Hit, Scratch};
use super::place::{Gap, Place, PlaceKind};
use super::rules::{Rule, Tier};
use super::unpack;
use std::collections::BTreeMap;
use std::io::Read;

/// How many archives inside archives are opened.
const DEEPEST: usize = 4;
/// More places of one secret are counted, not kept.
pub(crate) const MOST_PLACES: usize = 1000;
/// Opaque files are named up to this many.
const MOST_OPAQUE: usize = 100;
/// What a larger object is read in.
pub(crate) const WINDOW: usize = 8 << 20;
/// What of a window is read again with the next: longer than the longest secret.
pub(crate) const OVERLAP: usize = 64 << 10;

/// A secret, and where it stands.
#[derive(Debug)]
pub(crate) struct Secret {
    pub(crate) rule: &'static Rule,
    pub(crate) tier: Tier,
    pub(crate) value: Vec<u8>,
    pub(crate) name: Option<String>,
    pub(crate) places: Vec<Place>,
    pub(crate) count: u64,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Scanned {
    /// Files of the working tree, or the stream.
    pub files: u64,
    /// Objects of git.
    pub objects: u64,
    /// Bytes, archives counted as what they hold.
    pub bytes: u64,
}

/// Collects; one a worker, joined at the end.
pub(crate) struct Collector<'a> {
    detector: &'a Detector,
    /// An object or a member above this size is not held in memory.
    largest: usize,
    scratch: Scratch,
    secrets: BTreeMap<(&'static str, Vec<u8>), Secret>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) opaque: Vec<Gap>,
    pub(crate) scanned: Scanned,
}

/// What remains when the workers are done.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) secrets: BTreeMap<(&'static str, Vec<u8>), Secret>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) opaque: Vec<Gap>,
    pub(crate) scanned: Scanned,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(detector: &'a Detector, largest: usize) -> Self {
        Self {
            detector,
            largest,
            scratch: Scratch::default(),
            secrets: BTreeMap::new(),
            gaps: Vec::new(),
            opaque: Vec::new(),
            scanned: Scanned::default(),
        }
    }

    /// Examines an object that is whole in memory.
    pub(crate) fn examine(&mut self, place: &Place, bytes: &[u8]) {
        self.examine_inside(place, bytes, 0);
    }

    fn examine_inside(&mut self, place: &Place, bytes: &[u8], depth: usize) {
        if unpack::is_archive(bytes) {
            if depth >= DEEPEST {
                self.gap(place, format!("an archive in more than {DEEPEST} others"));
                return;
            }
            let found = unpack::open(bytes, self.largest);
            if found.cut {
                self.gap(place, format!("unpacks to more than {} MiB", self.largest >> 20));
            }
            for member in &found.members {
                self.names([(place, member.name.as_str())]);
                self.examine_inside(&place.member(&member.name), &member.content, depth + 1);
            }
            match found.opaque {
                Some(reason) => self.note_opaque(place, reason),
                None => return,
            }
        } else if let Some(format) = unpack::closed_format(bytes) {
            self.note_opaque(place, format);
        }
        self.scanned.bytes += bytes.len() as u64;
        let hits = self.detector.scan(bytes, &mut self.scratch);
        for hit in hits {
            self.keep(place, hit, 0);
        }
    }

    /// Examines a stream of any length, in windows that overlap.
    pub(crate) fn examine_stream(
        &mut self,
        place: &Place,
        mut stream: impl Read,
        window: usize,
    ) -> std::io::Result<()> {
        let overlap = OVERLAP.min(window / 4);
        let mut buffer = vec![0; window];
        let (mut filled, mut line, mut fresh) = (0, 0, 0);
        loop {
            let read = fill(&mut stream, &mut buffer[filled..])?;
            let last = filled + read < buffer.len();
            filled += read;
            self.scanned.bytes += read as u64;
            let text = &buffer[..filled];
            // A secret that begins in the overlap is whole in the next window: there it counts.
            let end = if last { filled } else { filled - overlap };
            for hit in self.detector.scan(text, &mut self.scratch) {
                // A long run that is decoded may have begun in the window before.
                let is_fresh = hit.span.start >= fresh || !hit.through.is_empty() && hit.span.end > fresh;
                if is_fresh && hit.span.start < end {
                    self.keep(place, hit, line);
                }
            }
            if last {
                return Ok(());
            }
            // What stands before a secret says what it is: half of the overlap is kept for that.
            let keep = filled - 2 * overlap;
            line += buffer[..keep].iter().filter(|byte| **byte == b'\n').count();
            buffer.copy_within(keep..filled, 0);
            fresh = end - keep;
            filled -= keep;
        }
    }

    /// Examines names, one a place; what is found is cut out of the place's own path.
    pub(crate) fn names<'p>(&mut self, names: impl IntoIterator<Item = (&'p Place, &'p str)>) {
        let names: Vec<(&Place, &str)> = names.into_iter().collect();
        let text = names.iter().map(|(_, name)| *name).collect::<Vec<_>>().join("\n");
        for mut hit in self.detector.scan(text.as_bytes(), &mut self.scratch) {
            let Some((place, name)) = names.get(hit.line) else { continue };
            let mut place = (*place).clone();
            if place.kind != PlaceKind::Link {
                place.kind = PlaceKind::Name;
            }
            let secret = String::from_utf8_lossy(&hit.secret).into_owned();
            let path = place.path.take().unwrap_or_else(|| (*name).to_owned());
            place.path = Some(path.replace(&secret, &super::report::preview(hit.rule, &hit.secret)));
            hit.line = 0;
            self.keep(&place, hit, 0);
        }
    }

    pub(crate) fn gap(&mut self, place: &Place, reason: impl Into<String>) {
        let mut place = place.clone();
        (place.line, place.column) = (1, 1);
        let text = place.to_string();
        self.gaps.push(Gap { place: text.replace(":1:1", ""), reason: reason.into() });
    }

    fn note_opaque(&mut self, place: &Place, reason: &str) {
        if self.opaque.len() < MOST_OPAQUE {
            let text = place.to_string().replace(":1:1", "");
            self.opaque.push(Gap { place: text, reason: reason.to_owned() });
        }
    }

    fn keep(&mut self, place: &Place, hit: Hit, lines_before: usize) {
        let mut place = place.clone();
        place.line = (lines_before + hit.line + 1) as u64;
        place.column = hit.column as u64 + 1;
        place.through = hit.through;
        let secret = self.secrets.entry((hit.rule.id, hit.secret.clone())).or_insert_with(|| Secret {
            rule: hit.rule,
            tier: hit.tier,
            value: hit.secret,
            name: hit.name,
            places: Vec::new(),
            count: 0,
        });
        secret.add(place, hit.tier);
    }

    pub(crate) fn done(self) -> Collected {
        Collected { secrets: self.secrets, gaps: self.gaps, opaque: self.opaque, scanned: self.scanned }
    }
}

impl Secret {
    fn add(&mut self, place: Place, tier: Tier) {
        self.tier = self.tier.max(tier);
        self.count += 1;
        if self.places.len() < MOST_PLACES {
            self.places.push(place);
        }
    }
}

impl Collected {
    pub(crate) fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Adds what another worker found.
    pub(crate) fn join(&mut self, other: Collected) {
        for (key, secret) in other.secrets {
            match self.secrets.entry(key) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(secret);
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    let known = entry.get_mut();
                    known.count += secret.count;
                    known.tier = known.tier.max(secret.tier);
                    known.places.extend(secret.places);
                    known.places.sort();
                    known.places.truncate(MOST_PLACES);
                }
            }
        }
        self.gaps.extend(other.gaps);
        self.opaque.extend(other.opaque);
        self.scanned.files += other.scanned.files;
        self.scanned.objects += other.scanned.objects;
        self.scanned.bytes += other.scanned.bytes;
    }
}

/// Reads until a buffer is full or the stream ends.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

//! Packs: read whole, hashed, and proven frame by frame and block by block.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use object_store::ObjectStoreExt as _;

use super::gather::{self, Place};
use super::ledger::Ledger;
use super::report::{Findings, is_damage};
use super::{Choice, Run};
use crate::error::{Error, Result};
use crate::monitor::{Meter, Monitor, Phase};
use crate::repo::Repository;
use crate::repo::crypt::Secrets;
use crate::repo::pack::{FrameReader, PackId, PackRef};
use crate::repo::seal::{self, HEADER, Kind};

/// Bytes of frames in one batch: about 40 MB of places, unless files are small. See [`gather::PLACES`].
const BATCH: u64 = 16 << 30;

/// How many packs are looked for at once.
const LOOKS: usize = 16;

/// How much was read.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    /// Backups that need something which was not read.
    pub(super) partial: BTreeSet<String>,
}

pub(super) async fn check(
    run: &Run<'_>,
    monitor: &Monitor,
    ledger: &mut Ledger,
    findings: &mut Findings,
) -> Result<Coverage> {
    let mut coverage = Coverage::default();
    let mut read = Vec::new();
    let mut looked_for = Vec::new();
    for (pack, users) in run.all_packs() {
        let path = run.packs.get(pack).path().to_string();
        match run.selection.choose(&path) {
            Choice::Read => read.push(pack),
            choice => {
                looked_for.push(pack);
                match choice {
                    Choice::LeftOut => {
                        findings.counts.packs_left_out += 1;
                        coverage.partial.extend(users);
                    }
                    _ => findings.counts.packs_proven_before += 1,
                }
            }
        }
    }
    look_for(run, looked_for, findings).await?;
    // Those of one job together: the same listings lead to them.
    read.sort_by_cached_key(|pack| (run.packs.get(*pack).backup.clone(), *pack));
    let raw = |pack: &PackId| run.packs.get(*pack).raw;
    monitor.phase(Phase::Verify, read.iter().map(raw).sum());
    let mut rest = &read[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let more = rest.iter().take_while(|pack| {
            bytes += raw(pack);
            bytes <= BATCH
        });
        let count = more.count().max(1);
        let done = check_batch(run, &rest[..count], ledger, findings).await?;
        rest = &rest[done..];
    }
    Ok(coverage)
}

/// Checks packs from the begin of `batch`, as many as there is room for what they must hold, and returns their number.
async fn check_batch(
    run: &Run<'_>,
    batch: &[PackId],
    ledger: &mut Ledger,
    findings: &mut Findings,
) -> Result<usize> {
    let gathered = gather::gather(run, batch, findings).await?;
    let count = gathered.places.len();
    let work: Vec<_> = gathered.places.into_iter().collect();
    let mut proven = stream::iter(work)
        .map(|(id, places)| {
            let pack = run.packs.get(id);
            let (repository, meter) = (run.repository.clone(), Arc::clone(&run.meter));
            async move {
                let result = prove(repository, Arc::clone(&pack), places.into_sorted(), meter).await;
                (id, pack, result)
            }
        })
        .buffer_unordered(run.options.workers.max(1));
    while let Some((id, pack, result)) = proven.next().await {
        let path = pack.path().to_string();
        findings.counts.packs += 1;
        match result {
            Ok(raw) => {
                findings.counts.raw_bytes += raw;
                ledger.add(&path, Timestamp::now());
            }
            Err(error) if is_damage(&error) => {
                ledger.revoke(&path);
                findings.add(&path, error.to_string(), &run.users(id));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

async fn prove(
    repository: Repository,
    pack: Arc<PackRef>,
    places: Vec<Place>,
    meter: Arc<Meter>,
) -> Result<u64> {
    let bytes = repository.read(&pack.path()).await?;
    let secrets = repository.secrets().clone();
    let check = move || prove_bytes(&secrets, &pack, &bytes, &places, &meter);
    Error::joined(tokio::task::spawn_blocking(check).await)
}

fn prove_bytes(
    secrets: &Secrets,
    pack: &PackRef,
    bytes: &[u8],
    places: &[Place],
    meter: &Meter,
) -> Result<u64> {
    let corrupt = |what: String| Error::corrupt(format!("{} {what}", pack.path()));
    if bytes.len() as u64 != pack.size {
        return Err(corrupt(format!("has {} bytes, expected {}", bytes.len(), pack.size)));
    }
    if *blake3::hash(bytes).as_bytes() != pack.name {
        return Err(corrupt("does not hash to its name".to_owned()));
    }
    let header = seal::header(Kind::Pack, secrets.is_encrypted(), 0, &pack.salt);
    if bytes.get(..HEADER) != Some(&header[..]) {
        return Err(corrupt("is another kind of object than its place says".to_owned()));
    }
    let mut reader = FrameReader::new(secrets.clone())?;
    let mut sum = 0;
    for same_frame in places.chunk_by(|a, b| (a.offset, a.stored, a.raw) == (b.offset, b.stored, b.raw)) {
        let Place { offset, stored, raw, .. } = same_frame[0];
        let end = offset.saturating_add(stored.into());
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let stored = range.and_then(|(start, end)| bytes.get(start..end));
        let stored = stored.ok_or_else(|| corrupt(format!("ends before the frame at byte {offset}")))?;
        let content = reader.read(pack, offset, stored, raw)?;
        for place in same_frame {
            let start = place.skip as usize;
            let block = content.get(start..start + place.length as usize);
            if block.is_none_or(|block| secrets.hash(block).0 != place.hash) {
                let message = format!(
                    "holds at byte {start} of the frame at byte {offset} other bytes than a backup expects"
                );
                return Err(corrupt(message));
            }
        }
        sum += u64::from(raw);
        meter.add(raw.into())?;
    }
    Ok(sum)
}

/// Packs that are not read must be there, with their size.
async fn look_for(run: &Run<'_>, packs: Vec<PackId>, findings: &mut Findings) -> Result<()> {
    let mut looks = stream::iter(packs)
        .map(|id| {
            let pack = run.packs.get(id);
            async move { (id, run.repository.store().head(&pack.path()).await, pack) }
        })
        .buffer_unordered(LOOKS);
    while let Some((id, found, pack)) = looks.next().await {
        let path = pack.path().to_string();
        match found {
            Ok(object) if object.size == pack.size => {}
            Ok(object) => {
                let what = format!("{path} has {} bytes, expected {}", object.size, pack.size);
                findings.add(&path, what, &run.users(id));
            }
            Err(object_store::Error::NotFound { .. }) => {
                findings.add(&path, format!("{path} is missing from the repository"), &run.users(id));
            }
            Err(error) => return Err(Error::storage(format!("look for {path}"), error)),
        }
    }
    Ok(())
}

impl Run<'_> {
    /// Every pack with the backups that need it.
    fn all_packs(&self) -> BTreeMap<PackId, Vec<String>> {
        let mut all: BTreeMap<PackId, Vec<String>> = BTreeMap::new();
        for subject in &self.subjects {
            for used in subject.manifest.iter().flat_map(|manifest| manifest.packs()) {
                all.entry(used.pack).or_default().push(subject.backup.id.clone());
            }
        }
        all
    }

    /// The backups that need `pack`.
    pub(super) fn users(&self, pack: PackId) -> Vec<String> {
        let needs = |subject: &&super::Subject| {
            let listings = subject.manifest.iter().flat_map(|manifest| &manifest.listings);
            listings.into_iter().any(|listing| {
                listing.frame.frame.pack == pack || listing.uses.iter().any(|(used, _)| *used == pack)
            })
        };
        self.subjects.iter().filter(needs).map(|subject| subject.backup.id.clone()).collect()
    }
}

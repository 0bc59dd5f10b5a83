//! The first phase: find what nothing refers to, and say so in the log.

use std::collections::BTreeSet;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use object_store::ObjectMeta;

use crate::error::{Error, Result};
use crate::repo::gc::condemned::List;
use crate::repo::gc::{Roots, Waiting};
use crate::repo::log::{Event, State};
use crate::repo::{Repository, object_path};

/// What was garbage when it was looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Survey {
    roots: Roots,
    now: Timestamp,
    resumable: jiff::SignedDuration,
    /// Packs that no root keeps, with their bytes.
    pub(crate) packs: Vec<(String, u64)>,
    /// Manifests and parts that no root keeps.
    pub(crate) objects: Vec<String>,
    /// Expired backups and abandoned jobs that are no roots.
    pub(crate) given_up: Vec<String>,
}

impl Survey {
    pub(crate) fn bytes(&self) -> u64 {
        self.packs.iter().map(|(_, size)| size).sum()
    }
}

/// What became of a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marked {
    Nothing,
    Condemned {
        packs: u64,
        bytes: u64,
    },
    /// The log has roots that the survey did not know; it has to be made again.
    Stale,
}

impl Repository {
    /// Looks for garbage. `assume` changes the state first: a plan sees what would be garbage.
    ///
    /// # Errors
    /// `Corrupt` where the log or a manifest cannot be read: nothing can be told from garbage then.
    #[tracing::instrument(skip_all)]
    pub(crate) async fn survey(
        &self,
        now: Timestamp,
        waiting: Waiting,
        assume: impl FnOnce(&mut State),
    ) -> Result<Survey> {
        // The log is read after these: whatever is listed and unknown to it has ended.
        let listed = self.owners_of_packs().await?;
        let objects = self.list_all("backups").await?;
        let mut state = self.state().await?;
        state.refuse_damage("look for garbage")?;
        assume(&mut state);
        let roots = Roots::of(&state, now, waiting.resumable)?;
        let ended = |id: &String| !state.backups.contains_key(id) && !roots.jobs.contains(id);
        let known = state.expired.keys().chain(state.abandoned.keys()).cloned();
        let owners: BTreeSet<String> = listed.into_iter().chain(known).filter(ended).collect();
        let kept = self.packs_kept(&roots, &state, &owners).await?;
        let condemned = self.condemned_already(&state).await?;

        // By value: a future that borrows an argument of its closure is not seen to be `Send`.
        let lists =
            owners.iter().cloned().map(|owner| async move { self.packs_of(&owner).try_collect().await });
        let lists: Vec<Vec<ObjectMeta>> = stream::iter(lists).buffered(4).try_collect().await?;
        let packs = lists.into_iter().flatten().map(|pack| (pack.location.to_string(), pack.size));
        let packs = packs.filter(|(path, _)| !kept.contains(path) && !condemned.contains(path)).collect();
        let objects = objects.into_iter().map(|object| object.location.to_string());
        let objects = objects.filter(|path| is_garbage(path, &roots) && !condemned.contains(path)).collect();
        let given_up = state.expired.keys().chain(state.abandoned.keys());
        let given_up = given_up.filter(|id| !roots.contains(id)).cloned().collect();
        Ok(Survey { roots, now, resumable: waiting.resumable, packs, objects, given_up })
    }

    /// Gives up what `survey` found, if the newest state agrees.
    #[tracing::instrument(skip_all)]
    pub(crate) async fn condemn(&self, survey: Survey) -> Result<Marked> {
        let bytes = survey.bytes();
        let Survey { roots, now, resumable, packs, objects, given_up } = survey;
        if packs.is_empty() && objects.is_empty() && given_up.is_empty() {
            return Ok(Marked::Nothing);
        }
        let count = packs.len() as u64;
        let list = self.write_list(&List::new(packs, objects)).await?;
        let mut marked = Marked::Stale;
        self.append(|state| {
            state.refuse_damage("condemn packs")?;
            marked = Marked::Stale;
            if !roots.covers(&Roots::of(state, now, resumable)?) {
                return Ok(None);
            }
            marked = Marked::Condemned { packs: count, bytes };
            let list = list.to_string();
            Ok(Some(Event::Condemn { list, packs: count, bytes, backups: given_up.clone() }))
        })
        .await?;
        if marked == Marked::Stale {
            // Nobody knows of it; a sweep finds it if this fails.
            let _ = self.remove(&list).await;
        }
        Ok(marked)
    }

    /// Looks for garbage and gives it up, as often as the log moves on meanwhile.
    pub(crate) async fn mark(&self, now: Timestamp, waiting: Waiting) -> Result<Marked> {
        loop {
            let survey = self.survey(now, waiting, |_| ()).await?;
            match self.condemn(survey).await? {
                Marked::Stale => tracing::debug!("the log has moved on; looking for garbage again"),
                marked => return Ok(marked),
            }
        }
    }

    async fn owners_of_packs(&self) -> Result<Vec<String>> {
        let prefix = object_path("packs");
        let listed = self.store().list_with_delimiter(Some(&prefix)).await;
        let listed = listed.map_err(|error| Error::storage(format!("list {prefix}"), error))?;
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// The packs that the job `owner` wrote, as they are listed.
    pub(crate) fn packs_of(&self, owner: &str) -> impl Stream<Item = Result<ObjectMeta>> + Send + use<> {
        self.listed(format!("packs/{owner}"))
    }

    pub(crate) async fn list_all(&self, prefix: &str) -> Result<Vec<ObjectMeta>> {
        self.listed(prefix.to_owned()).try_collect().await
    }

    fn listed(&self, prefix: String) -> impl Stream<Item = Result<ObjectMeta>> + Send + use<> {
        let listed = self.store().list(Some(&object_path(&prefix)));
        listed.map_err(move |error| Error::storage(format!("list {prefix}"), error))
    }
}

/// Whether no root keeps the object at `path`, which is `backups/<id>/<name>`. Parts are of use only until the commit.
fn is_garbage(path: &str, roots: &Roots) -> bool {
    let mut names = path.split('/').skip(1);
    let (Some(id), Some(name)) = (names.next(), names.next()) else { return false };
    match name {
        _ if roots.jobs.contains(id) => false,
        "manifest" => !roots.backups.contains(id),
        _ if name.starts_with("part-") => true,
        _ => !roots.backups.contains(id),
    }
}

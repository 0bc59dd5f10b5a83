//! `kind = "release-notes"`: the changelog says what this version brings, and what it said about older ones still stands.

use super::super::git::Git;
use super::words;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A changelog in Markdown, read from the released commit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseNotes {
    /// The changelog, from the root of the repository.
    pub changelog: Text,
    /// The version that is released; a heading must name it, with something under it.
    pub version: Text,
    /// The commit that was released before: what its changelog says about a version may not be changed.
    pub base: Text,
    /// Where the root of the repository is; the plan's directory where it is absent.
    pub repository: Option<Text>,
}

impl Gate for ReleaseNotes {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let message = "the changelog is read from a commit: give the plan a `[subject]` with `commit`";
        (!facts.has_subject).then(|| Wrong::gate(message)).into_iter().collect()
    }

    fn summary(&self) -> String {
        format!("{} has an entry for {}", self.changelog, self.version)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl ReleaseNotes {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let git = Git::new(context, self.repository.as_ref())?;
        let range = git.range(&context.resolve(&self.base)?).await?;
        let (path, version) = (context.resolve(&self.changelog)?, context.resolve(&self.version)?);
        let version = version.trim().trim_start_matches('v');
        if version.is_empty() {
            return Err(Finding::error(Fault::Unresolved, "version", "the version is empty"));
        }
        let now = git.file(&range.commit, &path).await?.ok_or_else(|| {
            Finding::fail("changelog-missing", format!("{} is not in the released commit", self.changelog))
        })?;
        let entries = entries(&now);
        let named: Vec<&(String, String)> = entries.iter().filter(|(named, _)| named == version).collect();
        let (_, body) = match named.as_slice() {
            [] => {
                return Err(Finding::fail(
                    "no-entry",
                    format!("{} has no heading for {version}", self.changelog),
                ));
            }
            [entry] => entry,
            _ => return Err(Finding::fail("two-entries", format!("{} has {version} twice", self.changelog))),
        };
        if !body.lines().any(|line| line.chars().any(char::is_alphabetic) && !line.starts_with('#')) {
            return Err(Finding::fail(
                "entry-empty",
                format!("{} says nothing about {version}", self.changelog),
            ));
        }
        if let Some(word) = words::placeholder(body) {
            return Err(Finding::fail(
                "placeholder",
                format!("the entry for {version} still says \"{word}\""),
            ));
        }
        // The first release has nothing before it.
        let before = git.file(&range.base, &path).await?.unwrap_or_default();
        for (older, said) in self::entries(&before) {
            if older == version {
                let reason = format!(
                    "{version} has an entry in the release before already; what was released is not changed"
                );
                return Err(Finding::fail("version-released", reason));
            }
            match entries.iter().find(|(named, _)| *named == older) {
                Some((_, says)) if says.trim() == said.trim() => {}
                Some(_) => {
                    return Err(Finding::fail(
                        "notes-rewritten",
                        format!("what was said about {older} was changed"),
                    ));
                }
                None => {
                    return Err(Finding::fail(
                        "notes-rewritten",
                        format!("what was said about {older} is gone"),
                    ));
                }
            }
        }
        Ok(Finding::pass(format!(
            "{} has an entry for {version}, and older ones are unchanged",
            self.changelog
        )))
    }
}

/// The versions that a changelog has entries for, and each entry. `Unreleased` is none.
fn entries(text: &str) -> Vec<(String, String)> {
    let version = |words: &str| {
        let first =
            words.split_whitespace().next()?.trim_matches(['[', ']', ':', ',']).trim_start_matches('v');
        first.starts_with(|c: char| c.is_ascii_digit()).then(|| first.to_owned())
    };
    let sections = words::sections(text).into_iter();
    sections.filter_map(|(level, words, body)| Some((version(words).filter(|_| level <= 2)?, body))).collect()
}

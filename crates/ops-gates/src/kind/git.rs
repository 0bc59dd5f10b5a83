//! What checks ask git. It is the program itself that answers, as the pipeline has it; nothing is written.

use crate::gate::{Context, Program};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, is_hex};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How much of an answer is read: the names of some hundred thousand files.
const ANSWER: usize = 64 * 1024 * 1024;

/// A repository.
pub(super) struct Git<'c, 'a> {
    context: &'c Context<'a>,
    directory: PathBuf,
}

/// What lies between two commits.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) base: String,
    pub(super) commit: String,
}

/// A file that was changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// `A` added, `M` modified, `D` deleted, `T` of another type. Renames are shown as both.
    pub(super) status: char,
    pub(super) path: String,
}

impl<'c, 'a> Git<'c, 'a> {
    /// The repository of the plan's directory, or of the directory that a key names.
    pub(super) fn new(context: &'c Context<'a>, directory: Option<&Text>) -> Result<Self, Finding> {
        let directory = match directory {
            Some(text) => context.path(text)?,
            None => context.directory().to_path_buf(),
        };
        Ok(Self { context, directory })
    }

    /// What git says; none where it says no.
    async fn ask(&self, arguments: &[&str]) -> Result<Option<String>, Finding> {
        let fixed = ["--no-replace-objects", "-c", "core.quotePath=false", "-c", "log.showSignature=false"];
        let mut program = Program::new("git").args(fixed).args(arguments.iter().copied());
        program.directory = Some(self.directory.clone());
        program.environment = [
            ("GIT_LITERAL_PATHSPECS", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_GRAFT_FILE", "/dev/null"),
            ("LC_ALL", "C"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
        program.keep = ANSWER;
        let ran = self.context.run(program).await?;
        if ran.stdout.len() >= ANSWER {
            return Err(Finding::error(Fault::Parse, "git", "git said more than is read"));
        }
        if ran.code() != Some(0) {
            return Ok(None);
        }
        let text = String::from_utf8(ran.stdout);
        text.map(Some).map_err(|_| Finding::error(Fault::Parse, "git", "git did not write UTF-8"))
    }

    async fn told(&self, arguments: &[&str]) -> Result<String, Finding> {
        self.ask(arguments).await?.ok_or_else(|| {
            let reason = format!("`git {}` failed in {}", arguments.join(" "), self.directory.display());
            Finding::error(Fault::Tool, "git", reason)
        })
    }

    /// The commit that a word names, by its full name.
    pub(super) async fn commit(&self, word: &str) -> Result<String, Finding> {
        let named = format!("{word}^{{commit}}");
        let found = self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &named]).await?;
        let found = found.map(|text| text.trim().to_owned());
        found.filter(|name| is_hex(name, 40) || is_hex(name, 64)).ok_or_else(|| {
            Finding::error(
                Fault::Unresolved,
                "commit-unknown",
                format!("git does not know the commit `{word}`"),
            )
        })
    }

    /// The commit that is released: that of the plan's subject, which must be here.
    pub(super) async fn subject(&self) -> Result<String, Finding> {
        let digest = self.context.subject().and_then(|subject| subject.digest.get("gitCommit"));
        let wanted = digest.ok_or_else(|| {
            Finding::error(Fault::Unresolved, "no-commit", "the subject of the plan has no `commit`")
        })?;
        self.commit(wanted).await
    }

    /// What is new since `base`. Where a part of the history is not here, nobody can say what is.
    pub(super) async fn range(&self, base: &str) -> Result<Range, Finding> {
        let (commit, base) = (self.subject().await?, self.commit(base).await?);
        if self.told(&["rev-parse", "--is-shallow-repository"]).await?.trim() != "false" {
            let reason = "the repository is shallow, so that its history is not all here; fetch all of it";
            return Err(Finding::error(Fault::NoData, "shallow", reason));
        }
        if base == commit {
            let reason = "the base is the released commit itself, so that there is no change to look at";
            return Err(Finding::error(Fault::NoData, "no-change", reason));
        }
        if self.ask(&["merge-base", "--is-ancestor", &base, &commit]).await?.is_none() {
            let reason = format!("the base {base} is not an ancestor of the released commit {commit}");
            return Err(Finding::error(Fault::Unresolved, "base-not-ancestor", reason));
        }
        Ok(Range { base, commit })
    }

    /// The files that differ between the two ends of a range, from the root of the repository.
    pub(super) async fn changes(&self, range: &Range) -> Result<Vec<Change>, Finding> {
        let arguments =
            ["diff-tree", "-r", "-z", "--no-renames", "--name-status", &range.base, &range.commit];
        let text = self.told(&arguments).await?;
        let mut fields = text.split('\0');
        let mut changes = Vec::new();
        while let (Some(status), Some(path)) = (fields.next(), fields.next()) {
            changes.push(Change { status: status.chars().next().unwrap_or('?'), path: path.to_owned() });
        }
        Ok(changes)
    }

    /// All files of a commit, from the root of the repository.
    pub(super) async fn paths(&self, commit: &str) -> Result<Vec<String>, Finding> {
        let text = self.told(&["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit]).await?;
        Ok(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
    }

    /// Who made the commits of a range: the addresses of authors and committers and of `Co-authored-by`, in lower case.
    /// Git does not prove them; it only says them.
    pub(super) async fn authors(&self, range: &Range) -> Result<BTreeSet<String>, Finding> {
        let revisions = format!("{}..{}", range.base, range.commit);
        let format =
            "--format=%ae%x00%ce%x00%(trailers:key=Co-authored-by,valueonly,unfold,separator=%x00)%x00";
        let text = self.told(&["log", "--no-mailmap", format, &revisions]).await?;
        let addresses = text.split('\0').map(|field| {
            let field = field.trim();
            field
                .rsplit_once('<')
                .and_then(|(_, rest)| rest.strip_suffix('>'))
                .unwrap_or(field)
                .to_lowercase()
        });
        Ok(addresses.filter(|address| !address.is_empty()).collect())
    }

    /// The text of a file as it stood in a commit; none where it did not exist. The path starts at this directory.
    ///
    /// Whether it exists is asked of the tree: an object that is not here (a partial clone, a damaged repository) would
    /// otherwise read as a file that never was.
    pub(super) async fn file(&self, commit: &str, path: &str) -> Result<Option<String>, Finding> {
        let entry = self.told(&["ls-tree", "-z", commit, "--", &format!("./{path}")]).await?;
        let Some((described, _)) = entry.split_once('\t') else { return Ok(None) };
        let object = match described.split(' ').collect::<Vec<_>>().as_slice() {
            [mode, "blob", object] if mode.starts_with("100") => (*object).to_owned(),
            _ => {
                let reason = format!("{path} is no file in the commit {commit}");
                return Err(Finding::error(Fault::Unresolved, "not-a-file", reason));
            }
        };
        self.told(&["cat-file", "blob", &object]).await.map(Some)
    }

    /// When a file was last changed up to a commit, in seconds since 1970; none where it is not in it.
    pub(super) async fn changed_at(&self, commit: &str, path: &Path) -> Result<Option<i64>, Finding> {
        let path = path.to_string_lossy();
        let text = self.told(&["log", "-1", "--format=%ct", commit, "--", &path]).await?;
        Ok(text.trim().parse().ok())
    }

    /// Whether the tracked files of the work tree are those of a commit.
    pub(super) async fn is_exactly(&self, commit: &str) -> Result<bool, Finding> {
        let head = self.commit("HEAD").await?;
        let status = self.told(&["status", "--porcelain", "--untracked-files=no"]).await?;
        Ok(head == commit && status.trim().is_empty())
    }
}

/// Whether a path of the repository fits one of the patterns. `*` stays within a folder, `**` does not.
pub(super) fn fits(patterns: &[String], path: &str) -> bool {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
    patterns.iter().any(|pattern| glob::Pattern::new(pattern).is_ok_and(|it| it.matches_with(path, options)))
}

/// What is wrong with patterns for paths of the repository.
pub(super) fn wrong_patterns(key: &str, patterns: &[String]) -> Vec<crate::gate::Wrong> {
    let wrong = |pattern: &&String| {
        pattern.is_empty() || pattern.starts_with('/') || glob::Pattern::new(pattern).is_err()
    };
    let message = |pattern: &String| {
        format!(
            "`{}` of `{key}` is not a pattern from the root of the repository, such as `config/**`",
            pattern.escape_debug()
        )
    };
    patterns.iter().filter(wrong).map(|pattern| crate::gate::Wrong::gate(message(pattern))).collect()
}

//! `kind = "documents"`: what must be written down is there, is finished, and was looked at not too long ago.

use super::super::git::Git;
use super::super::read;
use super::words;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Documents, such as runbooks, in the repository or elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// The files; each must be there and not be empty, and have no `TODO`, `TBD` or their like outside of code.
    pub files: Vec<Text>,
    /// Headings (Markdown) that each file must have, with something under them.
    #[serde(default)]
    pub headings: Vec<String>,
    /// How long ago each may have been changed last, by the released commit. The time of a file proves nothing.
    pub max_age: Option<Span>,
}

impl Gate for Documents {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.files.is_empty() {
            wrong.push(Wrong::gate("`files` is empty, so that nothing could be missing"));
        }
        if self.max_age.is_some() && !facts.has_subject {
            wrong.push(Wrong::gate(
                "the age of a document is known from git: give the plan a `[subject]` with `commit`",
            ));
        }
        wrong
    }

    fn summary(&self) -> String {
        let files: Vec<&str> = self.files.iter().map(Text::template).collect();
        format!("{} complete", files.join(", "))
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Documents {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        for file in &self.files {
            let text = document(context, file).await?;
            complete(&file.to_string(), &text, &self.headings)?;
            if let Some(max_age) = self.max_age {
                self.age(context, file, max_age).await?;
            }
        }
        let documents = if self.files.len() == 1 { "document" } else { "documents" };
        Ok(Finding::pass(format!("{} {documents} complete", self.files.len())))
    }

    async fn age(&self, context: &Context<'_>, file: &Text, max_age: Span) -> Result<(), Finding> {
        let git = Git::new(context, None)?;
        let commit = git.subject().await?;
        let path = context.resolve(file)?;
        let changed = git.changed_at(&commit, std::path::Path::new(&path)).await?;
        let changed = changed.and_then(|seconds| Timestamp::from_second(seconds).ok()).ok_or_else(|| {
            let reason = format!("{file} is not in the released commit, so that its age is not known");
            Finding::error(Fault::NoData, "age-unknown", reason)
        })?;
        let age = context.now().duration_since(changed);
        if !age.is_negative() && age.unsigned_abs() > max_age.get() {
            let reason = format!("{file} was changed last at {changed}, longer ago than {max_age}");
            return Err(Finding::fail("document-too-old", reason));
        }
        Ok(())
    }
}

/// The text of a document; that it is missing or empty is the answer, and no error.
pub(super) async fn document(context: &Context<'_>, file: &Text) -> Result<String, Finding> {
    read::text(context, file).await.map_err(|finding| match finding.code {
        "file-missing" => Finding::fail("document-missing", format!("{file} does not exist")),
        "file-empty" => Finding::fail("document-empty", format!("{file} is empty")),
        _ => finding,
    })
}

/// Whether a document is finished.
pub(super) fn complete(name: &str, text: &str, headings: &[String]) -> Result<(), Finding> {
    if let Some(word) = words::placeholder(text) {
        return Err(Finding::fail("placeholder", format!("{name} still says \"{word}\"")));
    }
    let sections = words::sections(text);
    for heading in headings {
        let mut named =
            sections.iter().filter(|(_, words, _)| words.eq_ignore_ascii_case(heading)).peekable();
        if named.peek().is_none() {
            return Err(Finding::fail("heading-missing", format!("{name} has no heading \"{heading}\"")));
        }
        if named.all(|(.., body)| body.trim().is_empty()) {
            return Err(Finding::fail("heading-empty", format!("{name} has nothing under \"{heading}\"")));
        }
    }
    Ok(())
}

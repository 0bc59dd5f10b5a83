//! `kind = "command"`: runs a program and looks at its exit code and its output.

use crate::gate::{Context, Facts, Gate, Program, Wrong};
use crate::outcome::Finding;
use crate::value::{Reference, Text, VariableName, names_a_secret};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;

/// A program that must end with an expected exit code.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments; no shell reads them. With `shell`, one script for `sh -c`.
    pub run: Vec<Text>,
    /// Whether `run` is a shell script. It is given to the shell as it stands, without `${env:…}`.
    #[serde(default)]
    pub shell: bool,
    /// The working directory; the plan's own directory where it is absent.
    pub cwd: Option<Text>,
    /// Variables that the program gets from our environment. All others but a few harmless ones are withheld.
    #[serde(default)]
    pub env: Vec<VariableName>,
    /// The exit codes that pass.
    #[serde(default = "zero")]
    pub exit_codes: Vec<i32>,
    /// A text that must stand in the program's standard output.
    pub expect_stdout: Option<Text>,
}

fn zero() -> Vec<i32> {
    vec![0]
}

impl Gate for Command {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.run.first().is_none_or(|program| program.template().is_empty()) {
            wrong.push(Wrong::gate("`run` names no program; write `run = [\"program\", \"argument\"]`"));
        }
        if self.exit_codes.is_empty() {
            wrong.push(Wrong::gate("`exit_codes` is empty, so the gate could never pass"));
        }
        for code in self.exit_codes.iter().filter(|code| !(0..=255).contains(*code)) {
            wrong.push(Wrong::gate(format!("exit code {code} does not exist; codes go from 0 to 255")));
        }
        if self.shell && self.run.len() != 1 {
            wrong.push(Wrong::gate("with `shell = true`, `run` is one script: `run = [\"…\"]`"));
        }
        for text in &self.run {
            wrong.extend(if self.shell { in_a_script(text) } else { in_an_argument(text) });
        }
        wrong
    }

    fn verbatim(&self) -> Vec<&Text> {
        if self.shell { self.run.iter().collect() } else { Vec::new() }
    }

    fn summary(&self) -> String {
        self.run.iter().map(|text| text.template().lines().next().unwrap_or("")).collect::<Vec<_>>().join(" ")
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.run(context).await.unwrap_or_else(|finding| finding) })
    }
}

fn in_a_script(text: &Text) -> Vec<Wrong> {
    let message = "a shell script gets variables from `env = [\"NAME\"]` and reads them as \"$NAME\"; \
                   `${env:…}` would be read as code";
    let has_any = ["${env:", "${secret:", "${gate:"].iter().any(|start| text.template().contains(start));
    if has_any { vec![Wrong::text(text, message)] } else { Vec::new() }
}

fn in_an_argument(text: &Text) -> Vec<Wrong> {
    let secret = |reference| match reference {
        Reference::Secret(name) => Some(name),
        Reference::Env(name) => Some(name).filter(|name| names_a_secret(name)),
        Reference::Gate { .. } => None,
    };
    let references = text.references().unwrap_or_default();
    let message = |name| {
        format!(
            "`{name}` looks like a secret, and everyone can see a program's arguments; pass it with `env = [\"{name}\"]`"
        )
    };
    references.into_iter().filter_map(secret).map(|name| Wrong::text(text, message(name))).collect()
}

impl Command {
    async fn run(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let mut arguments: Vec<OsString> = if self.shell {
            vec!["sh".into(), "-c".into(), self.run[0].template().into()]
        } else {
            let resolved = self.run.iter().map(|text| context.resolve(text).map(OsString::from));
            resolved.collect::<Result<_, _>>()?
        };
        let listed = self.env.iter().filter_map(|name| {
            let value = context.variable(name)?;
            Some((OsString::from(name.as_str()), OsString::from(value.expose_secret())))
        });
        let mut program = Program::new(arguments.remove(0)).args(arguments);
        program.environment = listed.collect();
        program.directory = self.cwd.as_ref().map(|cwd| context.path(cwd)).transpose()?;
        program.expect = self.expect_stdout.as_ref().map(|text| context.resolve(text)).transpose()?;
        let ran = context.run(program).await?;
        let Some(code) = ran.code() else {
            let signal = ran.status.and_then(|status| status.signal());
            let signal = signal.map_or_else(String::new, |signal| format!(" {signal}"));
            return Ok(ran.tidied(Finding::fail("signal", format!("ended by signal{signal}"))));
        };
        Ok(ran.tidied(self.judge(code, ran.found)))
    }

    fn judge(&self, code: i32, found: bool) -> Finding {
        if !self.exit_codes.contains(&code) {
            let expected = self.exit_codes.iter().map(i32::to_string).collect::<Vec<_>>().join(" or ");
            return Finding::fail("exit-code", format!("exit code {code}, expected {expected}"));
        }
        match &self.expect_stdout {
            Some(text) if !found => {
                let reason =
                    format!("exit code {code}, but standard output does not contain {:?}", text.template());
                Finding::fail("stdout", reason)
            }
            Some(_) => Finding::pass(format!("exit code {code}, and standard output is as expected")),
            None => Finding::pass(format!("exit code {code}")),
        }
    }
}

//! `kind = "command"`: runs a program and looks at its exit code and its output.

use super::Context;
use crate::outcome::{Fault, Finding};
use crate::plan::Command;
use crate::process::{self, Capture, End, Ended, Excerpt, Finder, Job};
use secrecy::ExposeSecret;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;

/// What every program gets of our environment, where it is set: enough to find tools and a home, and no secrets.
const HARMLESS: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

pub(super) async fn run(command: &Command, context: &Context<'_>) -> (Finding, Option<Excerpt>) {
    let capture = match Capture::create(context.log, context.masker.cloned()) {
        Ok(capture) => Arc::new(capture),
        Err(error) => return (log_failed(&error), None),
    };
    let expect = command.expect_stdout.as_ref().map(|text| Finder::new(&context.resolve(text)));
    let job = job(command, context);
    let program = command.run[0].template().to_owned();
    let ended = process::run(job, expect, &capture, context.cancel).await;
    let excerpt = match capture.finish() {
        Ok(excerpt) => excerpt,
        Err(error) => return (log_failed(&error), None),
    };
    let finding = match ended {
        Ok(ended) => judge(command, context, &ended),
        Err(error) => {
            let what = if command.shell { "the shell" } else { program.as_str() };
            Finding::error(Fault::Unresolved, "not-started", format!("cannot start `{what}`: {error}"))
        }
    };
    (finding, Some(excerpt))
}

fn log_failed(error: &std::io::Error) -> Finding {
    Finding::error(Fault::Internal, "log-not-written", format!("the log cannot be written: {error}"))
}

fn job(command: &Command, context: &Context<'_>) -> Job {
    let mut run: Vec<OsString> = if command.shell {
        vec!["sh".into(), "-c".into(), command.run[0].template().into()]
    } else {
        command.run.iter().map(|text| context.resolve(text).into()).collect()
    };
    let directory = context.plan.directory();
    // A program that is named by a path is found from where it runs, whatever directory we are in.
    let directory =
        command.cwd.as_ref().map_or_else(|| directory.to_path_buf(), |cwd| context.plan.path(cwd));
    let harmless = HARMLESS.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let listed = command.env.iter().filter_map(|name| {
        let value = context.plan.variables().get(name)?;
        Some((OsString::from(name), OsString::from(value.expose_secret())))
    });
    let given = context.environment.iter().map(|(name, value)| (name.into(), value.into()));
    Job {
        program: run.remove(0),
        arguments: run,
        directory,
        environment: harmless.chain(listed).chain(given).collect(),
        marker: context.marker.clone(),
        timeout: context.gate.timeout.get(),
        grace: context.grace,
    }
}

fn judge(command: &Command, context: &Context<'_>, ended: &Ended) -> Finding {
    let mut finding = match &ended.end {
        End::Exited(status) => exited(command, *status, ended.found),
        End::TimedOut => Finding::timeout(context.gate.timeout),
        End::Cancelled => Finding::cancelled(),
    };
    if ended.survivors > 0 {
        let reason = format!("{}; {} could not be ended", finding.reason, processes(ended.survivors));
        return Finding::error(Fault::Leak, "leak", reason);
    }
    if ended.left_behind > 0 && matches!(ended.end, End::Exited(_)) {
        finding.reason =
            format!("{}; {} left behind and ended", finding.reason, processes(ended.left_behind));
    }
    finding
}

fn exited(command: &Command, status: ExitStatus, found: bool) -> Finding {
    let Some(code) = status.code() else {
        let signal = status.signal().map_or_else(String::new, |signal| format!(" {signal}"));
        return Finding::fail("signal", format!("ended by signal{signal}"));
    };
    if !command.exit_codes.contains(&code) {
        return Finding::fail(
            "exit-code",
            format!("exit code {code}, expected {}", list(&command.exit_codes)),
        );
    }
    match &command.expect_stdout {
        Some(text) if !found => {
            let reason =
                format!("exit code {code}, but standard output does not contain {:?}", text.template());
            Finding::fail("stdout", reason)
        }
        Some(_) => Finding::pass(format!("exit code {code}, and standard output is as expected")),
        None => Finding::pass(format!("exit code {code}")),
    }
}

fn processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

fn list(codes: &[i32]) -> String {
    codes.iter().map(i32::to_string).collect::<Vec<_>>().join(" or ")
}

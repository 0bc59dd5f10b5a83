//! Our own commands as children: the trace is passed on, stderr goes to a log file, an interrupt ends them.

use anyhow::{Context as _, Result, bail};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Starts the commands of one run.
#[derive(Debug, Clone)]
pub(crate) struct Commands {
    home: PathBuf,
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    /// The exit code; 128 and more for a death by a signal.
    pub(crate) code: i32,
    /// All of stdout.
    pub(crate) stdout: String,
}

impl Commands {
    /// Commands whose files live below `home`.
    pub(crate) fn new(home: &Path) -> Self {
        Commands { home: home.to_path_buf() }
    }

    /// The path of one of our programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }

    /// The file that collects the stderr of a program.
    pub(crate) fn log(&self, name: &str) -> Result<File> {
        let path = self.home.join("logs").join(format!("{name}.log"));
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("{} cannot be opened", path.display()))
    }

    /// Runs one of our programs and returns what it said, whatever its exit code.
    pub(crate) async fn ask(&self, name: &str, args: &[&str]) -> Result<Said> {
        let mut command = Command::new(self.program(name));
        command
            .args(["--config", &self.home.join("ops.toml").display().to_string(), "--log-format", "json"])
            .args(args);
        command.envs(ops_telemetry::child_env()).env_remove("RUST_LOG").current_dir(&self.home);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(self.log(name)?).kill_on_drop(true);
        let done =
            command.spawn().with_context(|| format!("{name} does not start"))?.wait_with_output().await?;
        let stdout = String::from_utf8(done.stdout)
            .with_context(|| format!("{name} printed something that is not text"))?;
        Ok(Said { code: done.status.code().unwrap_or(128), stdout })
    }

    /// As [`Commands::ask`], where anything but exit code 0 is an error.
    pub(crate) async fn run(&self, name: &str, args: &[&str]) -> Result<String> {
        let said = self.ask(name, args).await?;
        if said.code != 0 {
            bail!(
                "{name} {} ended with exit code {}: {}",
                args.join(" "),
                said.code,
                self.last_log_line(name)
            );
        }
        Ok(said.stdout)
    }

    /// As [`Commands::run`], with the answer as JSON.
    pub(crate) async fn json(&self, name: &str, args: &[&str]) -> Result<serde_json::Value> {
        let mut all = vec!["--format", "json"];
        all.extend(args);
        let text = self.run(name, &all).await?;
        serde_json::from_str(&text).with_context(|| format!("{name} did not answer in JSON"))
    }

    /// The folder of the run.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Starts a program of PostgreSQL's in the background; its output goes to a file of its own.
    pub(crate) fn background(
        &self,
        program: std::process::Command,
        args: &[String],
        output: &str,
    ) -> Result<Child> {
        let file = self.home.join(output);
        let file = File::create(&file).with_context(|| format!("{} cannot be created", file.display()))?;
        let name = program.get_program().to_owned();
        let mut command = Command::from(program);
        command.args(args).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        command.spawn().with_context(|| format!("{} does not start", name.display()))
    }

    fn last_log_line(&self, name: &str) -> String {
        let text =
            std::fs::read_to_string(self.home.join("logs").join(format!("{name}.log"))).unwrap_or_default();
        let last = text
            .lines()
            .rev()
            .find(|line| line.contains("\"ERROR\""))
            .unwrap_or("it left no error in its log");
        let parsed: Option<String> = serde_json::from_str::<serde_json::Value>(last)
            .ok()
            .and_then(|line| Some(line.get("message")?.as_str()?.to_owned()));
        parsed.unwrap_or_else(|| last.to_owned())
    }
}

//! What the tests share: a directory with a plan, and the command run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A directory in which the command is run.
pub(crate) struct Place(TempDir);

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// A directory with a plan in it.
    pub(crate) fn with(plan: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        std::fs::write(place.path("release.toml"), plan).expect("a plan");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    /// The command in this directory, its environment cleaned of what could change its answers.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ops-gate"));
        command.args(arguments).current_dir(self.0.path());
        command
            .env_clear()
            .env("OPS_LOG_FORMAT", "human")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().expect("the command runs"))
    }

    /// A key pair made by `openssl`, as the help says.
    pub(crate) fn make_keys(&self) {
        for arguments in
            ["genpkey -algorithm ed25519 -out gate.pem", "pkey -in gate.pem -pubout -out gate.pub.pem"]
        {
            let made = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(self.0.path())
                .output()
                .expect("openssl");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
    }
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Replaces what differs from run to run.
pub(crate) fn stable(check: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    for (pattern, replacement) in [
        (r"\d{8}T\d{6}Z-[0-9a-f]{24}", "[run id]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
        (r"\b[0-9a-f]{64}\b", "[sha256]"),
        (r"\b[0-9a-f]{32}\b", "[trace id]"),
        (r#""duration_seconds":[0-9.e-]+"#, r#""duration_seconds":"[seconds]""#),
        (r#""duration_seconds": [0-9.e-]+"#, r#""duration_seconds": "[seconds]""#),
        (r" +\d+\.\d\d s ", " [seconds] "),
    ] {
        settings.add_filter(pattern, replacement);
    }
    settings.bind(check);
}

/// Whether the path holds a verdict, and which.
pub(crate) fn verdict(directory: &Path) -> (String, String) {
    let bytes = std::fs::read(directory.join("verdict.json")).expect("verdict.json");
    let json: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    (json["verdict"].as_str().unwrap_or("").to_owned(), json["reason"].as_str().unwrap_or("").to_owned())
}

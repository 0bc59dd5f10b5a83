//! A git repository that a test fills.

use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

pub(crate) struct Repository {
    directory: TempDir,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let repository = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_as("ada@example.com", arguments)
    }

    fn git_as(&self, address: &str, arguments: &[&str]) -> String {
        let done = Command::new("git")
            .args(["-c", "commit.gpgSign=false"])
            .args(arguments)
            .current_dir(self.directory.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "Somebody")))
            .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, address)))
            .output()
            .expect("git");
        assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8").trim().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// Commits all that was written, by this address, and gives the commit's name.
    pub(crate) fn commit(&self, address: &str, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git_as(address, &["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// The plan of one gate about a commit, run from the root of the repository.
    pub(crate) async fn run_gate(&self, commit: &str, keys: &str) -> super::Ran {
        let toml = format!(
            "name = \"test\"\n[subject]\nname = \"shop\"\ncommit = \"{commit}\"\n[[gate]]\nid = \"it\"\n{keys}\n"
        );
        // It is not tracked, and so is no part of any commit.
        std::fs::write(self.path(".gate-plan.toml"), toml).expect("a file");
        let plan = ops_gates::Plan::load(&self.path(".gate-plan.toml"), &ops_gates::ReadOptions::default())
            .unwrap_or_else(|error| panic!("{error}: {:?}", error.problems()));
        super::run_with(&plan, super::options(), ops_gates::CancellationToken::new()).await
    }
}

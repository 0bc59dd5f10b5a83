//! A directory tree from its first backup to its last, as a person sees it; damage and interrupts.

use crate::{command, masked, shape_text, shown};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// An encrypted repository, and a tree of some files.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(megabytes: usize) -> Self {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        let tree = site.path("tree");
        std::fs::create_dir_all(tree.join("below")).unwrap();
        for number in 0..20 {
            std::fs::write(tree.join(format!("below/{number}")), format!("file {number}")).unwrap();
        }
        // Nothing in it repeats, and nothing can be compressed.
        let mut bytes = vec![0; megabytes << 20];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for chunk in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        std::fs::write(tree.join("big"), bytes).unwrap();
        assert_eq!(site.run(&["key", "new", "key"]).0, 0);
        assert_eq!(site.run(&["init"]).0, 0);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(self.folder.path(), &[&["--log-level", "error"], args].concat());
        command.envs([("OPS_BACKUP_REPO", "repo"), ("OPS_LOG_FORMAT", "human")]);
        // The key file of the repository does not exist yet when it is made.
        if args[0] != "key" || args[1] != "new" {
            command.env("OPS_BACKUP_KEY_FILE", "key");
        }
        command
    }

    /// Exit code and text.
    fn run(&self, args: &[&str]) -> (i32, String) {
        let done = self.command(args).output().unwrap();
        (done.status.code().unwrap(), shown(&done, self.folder.path()))
    }

    fn json(&self, args: &[&str]) -> Value {
        let done = self.command(&[&["--format", "json"], args].concat()).output().unwrap();
        serde_json::from_slice(&done.stdout)
            .unwrap_or_else(|_| panic!("{args:?}: {}", shown(&done, self.folder.path())))
    }

    fn backup(&self) -> (i32, String) {
        self.run(&["backup", "--tree", "tree", "--name", "site"])
    }

    fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Asks again and again, until it is so or the child has ended.
    fn wait_for(&self, child: &mut Child, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            assert!(child.try_wait().unwrap().is_none(), "it ended too early");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_like_the_tree(&self, other: &Path) -> bool {
        Command::new("diff").arg("-r").args([&self.path("tree"), other]).status().unwrap().success()
    }
}

fn interrupt(child: &mut Child) -> Option<i32> {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
    child.wait().unwrap().code()
}

/// Every answer in words, from the empty repository to the expired backup.
#[test]
fn in_words() {
    let site = Site::new(1);
    let step = |name: &str, args: &[&str]| {
        insta::assert_snapshot!(format!("tree_{name}"), masked(&site.run(args).1));
    };
    step("init_again", &["init"]);
    step("keys", &["key", "list"]);
    step("backup", &["backup", "--tree", "tree", "--name", "site"]);
    std::fs::write(site.path("tree/below/7"), "another file 7").unwrap();
    step("second_backup", &["backup", "--tree", "tree", "--name", "site"]);
    step("list", &["list"]);
    step("verify", &["verify"]);
    step("verify_again", &["verify", "--max-age", "7d"]);
    step("plan", &["restore", "--to", "new", "--tree", "site", "--plan"]);
    assert!(!site.path("new").exists(), "a plan writes nothing");
    step("restore", &["restore", "--to", "new", "--tree", "site"]);
    assert!(site.is_like_the_tree(&site.path("new")));
    step("expire_plan", &["expire", "--keep-last", "1", "--plan"]);
    step("expire", &["expire", "--keep-last", "1", "--grace", "0s"]);
    step("expire_again", &["expire", "--keep-last", "1", "--grace", "0s"]);
    step("list_in_the_end", &["list"]);
    std::fs::write(site.path("phrase"), "correct horse battery staple\n").unwrap();
    step("key_add", &["key", "add", "--new-passphrase-file", "phrase"]);
    step("metrics", &["metrics", "--write", "backup.prom"]);
    let names: Vec<String> =
        std::fs::read_to_string(site.path("backup.prom")).unwrap().lines().map(masked).collect();
    assert!(names.contains(&"ops_backup_up #".to_owned()), "{names:?}");
}

/// What opens the repository opens it, and what was removed does not.
#[test]
fn keys_come_and_go() {
    let site = Site::new(1);
    assert_eq!(site.backup().0, 0);
    std::fs::write(site.path("phrase"), "correct horse battery staple\n").unwrap();
    let first = site.json(&["key", "list"])["keys"][0]["id"].as_str().unwrap().to_owned();
    site.json(&["key", "add", "--new-passphrase-file", "phrase"]);
    assert_eq!(site.run(&["key", "remove", &first]).0, 78, "the key that is in use");

    let with = |passphrase: &str, args: &[&str]| {
        let mut command = site.command(args);
        command.env_remove("OPS_BACKUP_KEY_FILE").env("OPS_BACKUP_PASSPHRASE", passphrase);
        command.output().unwrap().status.code()
    };
    assert_eq!(with("correct horse battery staples", &["list"]), Some(78));
    assert_eq!(with("correct horse battery staple", &["key", "remove", &first]), Some(0));
    assert_eq!(with("correct horse battery staple", &["verify"]), Some(0));
    assert_eq!(site.run(&["list"]).0, 78, "the key was removed");
}

/// One flipped bit is found, named with what it costs, and never restored.
#[test]
fn damage_is_found_and_named() {
    let site = Site::new(1);
    assert_eq!(site.backup().0, 0);
    let packs = std::fs::read_dir(site.path("repo/packs")).unwrap().next().unwrap().unwrap().path();
    let packs = std::fs::read_dir(packs).unwrap().map(|entry| entry.unwrap().path());
    let biggest = packs.max_by_key(|pack| std::fs::metadata(pack).unwrap().len()).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&biggest).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 500_000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 500_000).unwrap();

    let (code, said) = site.run(&["verify"]);
    assert_eq!(code, 20, "{said}");
    insta::assert_snapshot!("damage_verify", masked(&said));
    insta::assert_snapshot!("damage_list", masked(&site.run(&["list"]).1));
    let (code, said) = site.run(&["restore", "--to", "new", "--tree", "site"]);
    assert_eq!(code, 20, "{said}");
    assert!(!site.path("new/big").exists(), "nothing is left that looks restored");
    assert_eq!(site.json(&["verify"])["proven"], false);
}

/// A backup that runs keeps others out; stopped, it leaves nothing in the way.
#[test]
fn an_interrupted_backup() {
    let site = Site::new(8);
    let mut running = site.start(&["backup", "--tree", "tree", "--name", "site", "--throttle", "0.5"]);
    site.wait_for(&mut running, |site| site.json(&["list"])["running"].as_array().unwrap().len() == 1);
    insta::assert_snapshot!("running_list", masked(&site.run(&["list"]).1));
    let (code, said) = site.backup();
    assert_eq!(code, 75, "{said}");
    assert_eq!(interrupt(&mut running), Some(130));
    insta::assert_snapshot!("aborted_list", masked(&site.run(&["list"]).1));
    assert_eq!(site.backup().0, 0);
    assert_eq!(site.run(&["verify"]).0, 0);
}

/// A restore that is stopped leaves the directory as it was, and the same command does it.
#[test]
fn an_interrupted_restore() {
    let site = Site::new(8);
    assert_eq!(site.backup().0, 0);
    let words = ["restore", "--to", "new", "--tree", "site"];
    let mut command = site.command(&words);
    command.env("OPS_BACKUP_DOWNLOAD_LIMIT_MB", "0.5").stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    site.wait_for(&mut running, |site| site.path("new").exists());
    assert_eq!(interrupt(&mut running), Some(130));
    let (code, said) = site.run(&words);
    assert_eq!(code, 0, "{said}");
    assert!(site.is_like_the_tree(&site.path("new")));
}

/// Machines read names and types: these change with the version of the schema only.
#[test]
fn documents() {
    let site = Site::new(1);
    let step = |name: &str, args: &[&str]| {
        insta::assert_snapshot!(format!("json_{name}"), shape_text(&site.json(args)));
    };
    step("init", &["init"]);
    step("key_new", &["key", "new", "second"]);
    step("key_add", &["key", "add", "--new-key-file", "second"]);
    step("key_list", &["key", "list"]);
    step("backup", &["backup", "--tree", "tree", "--name", "site"]);
    step("metrics", &["metrics"]);
    step("verify", &["verify"]);
    step("restore_plan", &["restore", "--to", "new", "--tree", "site", "--plan"]);
    step("restore", &["restore", "--to", "new", "--tree", "site"]);
    step("expire_plan", &["expire", "--keep-last", "1", "--plan"]);
    step("expire", &["expire", "--keep-last", "1"]);
    step("list", &["list"]);
}

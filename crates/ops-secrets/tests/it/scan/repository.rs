//! The traps of repositories: each hides a token where a walk over diffs or a list of paths does not look.

use super::corpus::forms::{gzip, utf16, zip};
use super::corpus::rng::Rng;
use super::corpus::tokens;
use super::{options, scan_tree};
use ops_secrets::scan::{ErrorKind, Options, PlaceKind, Report, State, Target, Tier, Verdict, scan};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A repository of a test's own.
struct Repository {
    _folder: tempfile::TempDir,
    path: PathBuf,
    rng: Rng,
}

impl Repository {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("work");
        fs::create_dir(&path).unwrap();
        let repository = Self { _folder: folder, path, rng: Rng::new(seed) };
        repository.git(&["init", "-q", "-b", "main"]);
        repository.write("README", "a repository\n");
        repository.commit("begin");
        repository
    }

    fn token(&mut self) -> String {
        tokens::github(&mut self.rng)
    }

    fn git(&self, args: &[&str]) -> String {
        git(&self.path, args, "")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    fn history(&self) -> Report {
        scan(Target::History(self.path.clone()), options()).unwrap()
    }
}

fn git(path: &Path, args: &[&str], input: &str) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(path).args([
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@acme.io",
        "-c",
        "commit.gpgsign=false",
    ]);
    command.args(["-c", "protocol.file.allow=always"]).args(args);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// What hides a token, and how: the token is planted by the function, in a repository of its own.
type Trap = (&'static str, fn(&Repository, &str));

fn gone(repository: &Repository, content: impl AsRef<[u8]>) {
    repository.write("a.bin", content);
    repository.commit("add");
    fs::remove_file(repository.path.join("a.bin")).unwrap();
    repository.commit("remove");
}

const TRAPS: [Trap; 36] = [
    ("plain", |r, t| r.write("a.txt", format!("t = {t}\n"))),
    ("CRLF", |r, t| r.write("a.txt", format!("a\r\nt = {t}\r\n"))),
    ("no end of line", |r, t| r.write("a.txt", format!("t = {t}"))),
    ("UTF-8 path", |r, t| r.write("näme/ünd.txt", format!("t = {t}\n"))),
    ("a line of two megabytes", |r, t| {
        r.write("a.txt", format!("{}{t} {}", "x ".repeat(500_000), "y ".repeat(500_000)))
    }),
    ("added, then deleted", |r, t| gone(r, t)),
    ("UTF-16", |r, t| gone(r, utf16(&format!("token: {t}\r\n"), false, true))),
    ("base64 of JSON", |r, t| {
        gone(r, super::corpus::rng::base64(format!("{{\"token\":\"{t}\",\"a\":1}}").as_bytes()))
    }),
    ("gzip", |r, t| gone(r, gzip(t.as_bytes()))),
    ("zip", |r, t| gone(r, zip("a.txt", t.as_bytes()))),
    ("binary with NULs", |r, t| gone(r, format!("\0\u{1}\0{t}\0\0"))),
    ("an attribute without diffs", |r, t| {
        r.write(".gitattributes", "*.bin -diff\n");
        gone(r, t);
    }),
    ("only in a merge", |r, t| {
        r.git(&["checkout", "-q", "-b", "side"]);
        r.write("side.txt", "side\n");
        r.commit("side");
        r.git(&["checkout", "-q", "main"]);
        r.write("main.txt", "main\n");
        r.commit("main");
        r.git(&["merge", "-q", "--no-ff", "--no-commit", "side"]);
        r.write("merged.txt", t);
        r.commit("merge");
        r.git(&["rm", "-q", "merged.txt"]);
        r.commit("remove");
    }),
    ("stash", |r, t| {
        r.write("README", t);
        r.git(&["stash", "-q"]);
    }),
    ("stash of an untracked file", |r, t| {
        r.write("new.txt", t);
        r.git(&["stash", "-q", "-u"]);
    }),
    ("unreachable after a reset", |r, t| {
        r.write("a.txt", t);
        r.commit("add");
        r.git(&["reset", "-q", "--hard", "HEAD~1"]);
        r.git(&["reflog", "expire", "--expire=now", "--all"]);
    }),
    ("only in the reflog", |r, t| {
        r.write("a.txt", t);
        r.commit("add");
        r.git(&["reset", "-q", "--hard", "HEAD~1"]);
    }),
    ("amended away", |r, t| {
        r.write("a.txt", t);
        r.commit("add");
        r.write("a.txt", "no more");
        r.git(&["commit", "-qa", "--amend", "-m", "add"]);
    }),
    ("another branch", |r, t| {
        r.git(&["checkout", "-q", "-b", "other"]);
        r.write("a.txt", t);
        r.commit("add");
        r.git(&["checkout", "-q", "main"]);
    }),
    ("an orphan root", |r, t| {
        r.git(&["checkout", "-q", "--orphan", "orphan"]);
        r.write("a.txt", t);
        r.commit("root");
        r.git(&["checkout", "-q", "main"]);
    }),
    ("a commit that only a tag has", |r, t| {
        r.git(&["checkout", "-q", "--detach"]);
        r.write("a.txt", t);
        r.commit("add");
        r.git(&["tag", "v1"]);
        r.git(&["checkout", "-q", "main"]);
    }),
    ("a note", |r, t| {
        r.git(&["notes", "add", "-m", t]);
    }),
    ("a commit's message", |r, t| r.commit(&format!("deploy with {t}"))),
    ("an annotated tag's message", |r, t| {
        r.git(&["tag", "-a", "v1", "-m", t]);
    }),
    ("a tag of a blob", |r, t| {
        let id = git(&r.path, &["hash-object", "-w", "--stdin"], t);
        r.git(&["tag", "blob", &id]);
    }),
    ("a link's target", |r, t| {
        std::os::unix::fs::symlink(format!("/srv/{t}/x"), r.path.join("link")).unwrap();
        r.commit("link");
        fs::remove_file(r.path.join("link")).unwrap();
        r.commit("unlink");
    }),
    ("a file's name", |r, t| {
        r.write(&format!("cache-{t}.txt"), "nothing\n");
        r.commit("add");
        r.git(&["rm", "-qr", "."]);
        r.commit("remove");
    }),
    ("package-lock.json", |r, t| r.write("package-lock.json", format!("{{\"a\":\"{t}\"}}"))),
    ("an image of text", |r, t| r.write("a.svg", format!("<svg><!-- {t} --></svg>"))),
    ("node_modules", |r, t| r.write("node_modules/a/a.js", format!("x='{t}'"))),
    ("a remote's URL in .git/config", |r, t| {
        r.git(&["remote", "add", "o", &format!("https://x:{t}@git.acme.io/a.git")]);
    }),
    ("untracked", |r, t| r.write("new.txt", t)),
    ("staged only", |r, t| {
        r.write("a.txt", t);
        r.git(&["add", "a.txt"]);
        fs::remove_file(r.path.join("a.txt")).unwrap();
    }),
    ("a literal over two lines", |r, t| {
        r.write("a.py", format!("t = (\"{}\"\n     \"{}\")\n", &t[..20], &t[20..]))
    }),
    ("packed, with deltas", |r, t| {
        for n in 0..5 {
            r.write(
                "a.txt",
                format!("{}{}\n", "a line that stays\n".repeat(200), if n == 2 { t } else { "none" }),
            );
            r.commit("change");
        }
        r.git(&["gc", "-q"]);
    }),
    ("a submodule's folder", |r, t| {
        r.write("inner/a.txt", t);
        git(&r.path.join("inner"), &["init", "-q"], "");
    }),
];

#[test]
fn every_trap_is_seen() {
    let mut missed = Vec::new();
    for (index, (name, plant)) in TRAPS.iter().enumerate() {
        let mut repository = Repository::new(index as u64);
        let before = repository.history();
        assert_eq!((before.verdict, before.findings.len()), (Verdict::Clean, 0), "{name}");
        let token = repository.token();
        plant(&repository, &token);
        let report = repository.history();
        let text = serde_json::to_string(&report).unwrap();
        assert!(!text.contains(&token[8..]), "{name}: the report holds the token");
        if report.verdict != Verdict::Found {
            missed.push(*name);
        }
    }
    assert_eq!(missed, [""; 0]);
}

#[test]
fn an_ignored_file_is_a_matter_of_choice() {
    let mut repository = Repository::new(100);
    let token = repository.token();
    repository.write(".gitignore", ".env\n");
    repository.commit("ignore");
    repository.write(".env", format!("T={token}\n"));
    assert_eq!(repository.history().verdict, Verdict::Clean);
    let all = Options { ignored: true, ..options() };
    assert_eq!(scan(Target::Tree(repository.path.clone()), all).unwrap().verdict, Verdict::Found);
}

#[test]
fn a_finding_says_which_commit_and_path_brought_it() {
    let mut repository = Repository::new(101);
    let token = repository.token();
    repository.write("src/old name.txt", format!("one\ntwo {token}\n"));
    repository.commit("add");
    let added = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["mv", "src/old name.txt", "new.txt"]);
    repository.commit("move");
    repository.git(&["rm", "-q", "new.txt"]);
    repository.commit("remove");
    let report = repository.history();
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    let [place] = finding.places.as_slice() else { panic!("{finding:?}") };
    assert_eq!(
        (place.kind, place.path.as_deref(), place.line, place.column),
        (PlaceKind::Blob, Some("src/old name.txt"), 2, 5)
    );
    assert_eq!(place.commit.as_deref(), Some(added.as_str()));
    assert_eq!(
        (finding.rule, finding.tier, finding.preview.as_str()),
        ("github-token", Tier::Certain, &*format!("{}********", &token[..4]))
    );
}

#[test]
fn only_what_is_staged_counts_before_a_commit() {
    let mut repository = Repository::new(102);
    let staged =
        |repository: &Repository| scan(Target::Staged(repository.path.clone()), options()).unwrap().verdict;
    assert_eq!(staged(&repository), Verdict::Nothing);
    let token = repository.token();
    repository.write("a.txt", format!("{token}\n"));
    assert_eq!(staged(&repository), Verdict::Nothing);
    repository.git(&["add", "a.txt"]);
    // What is staged is judged, not what has become of the file since.
    repository.write("a.txt", "clean\n");
    assert_eq!(staged(&repository), Verdict::Found);
    repository.git(&["add", "a.txt"]);
    assert_eq!(staged(&repository), Verdict::Clean);
    repository.commit("clean");
    repository.git(&["rm", "-q", "a.txt"]);
    assert_eq!(staged(&repository), Verdict::Clean);
}

#[test]
fn the_first_commit_of_a_repository_can_be_judged() {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "-q"], "");
    fs::write(folder.path().join("a.txt"), tokens::github(&mut Rng::new(9))).unwrap();
    git(folder.path(), &["add", "a.txt"], "");
    assert_eq!(scan(Target::Staged(folder.path().into()), options()).unwrap().verdict, Verdict::Found);
}

#[test]
fn only_what_is_new_counts_since_a_revision() {
    let mut repository = Repository::new(103);
    let (old, new) = (repository.token(), repository.token());
    repository.write("old.txt", &old);
    repository.commit("old");
    let base = repository.git(&["rev-parse", "HEAD"]);
    let since = |repository: &Repository, revision: &str| {
        scan(Target::Since(repository.path.clone(), revision.into()), options())
    };
    assert_eq!(since(&repository, &base).unwrap().verdict, Verdict::Nothing);
    repository.write("new.txt", "clean\n");
    repository.commit("new");
    assert_eq!(since(&repository, &base).unwrap().verdict, Verdict::Clean);
    repository.write("new.txt", &new);
    repository.commit("newer");
    let report = since(&repository, &base).unwrap();
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].places[0].path.as_deref(), Some("new.txt"));
    for unknown in ["no-such", "--all", ""] {
        assert_eq!(since(&repository, unknown).unwrap_err().kind(), ErrorKind::UnknownRevision, "{unknown}");
    }
}

#[test]
fn half_a_history_is_never_clean() {
    let mut repository = Repository::new(104);
    let token = repository.token();
    gone(&repository, &token);
    let clone = |name: &str, flag: &str| {
        let path = repository.path.with_file_name(name);
        repository.git(&["config", "uploadpack.allowFilter", "true"]);
        let url = format!("file://{}", repository.path.display());
        repository.git(&["clone", "-q", flag, &url, path.to_str().unwrap()]);
        path
    };
    for (name, flag) in [("shallow", "--depth=1"), ("blobless", "--filter=blob:none")] {
        let path = clone(name, flag);
        for target in [Target::History(path.clone()), Target::Since(path.clone(), "HEAD".into())] {
            assert_eq!(scan(target, options()).unwrap_err().kind(), ErrorKind::Incomplete, "{name}");
        }
        // The files that are there can be judged.
        assert_eq!(scan_tree(&path).verdict, Verdict::Clean);
    }
}

#[test]
fn a_bare_repository_has_a_history_too() {
    let mut repository = Repository::new(108);
    let (one, two) = (repository.token(), repository.token());
    gone(&repository, &one);
    let bare = repository.path.with_file_name("bare.git");
    repository.git(&["clone", "-q", "--bare", ".", bare.to_str().unwrap()]);
    let count = || scan(Target::History(bare.clone()), options()).unwrap().findings.len();
    assert_eq!(count(), 1);
    git(&bare, &["config", "remote.x.url", &format!("https://u:{two}@git.acme.io/a")], "");
    assert_eq!(count(), 2);
}

#[test]
fn a_damaged_object_is_never_clean() {
    let repository = Repository::new(105);
    let id = repository.git(&["rev-parse", "HEAD:README"]);
    let object = repository.path.join(".git/objects").join(&id[..2]).join(&id[2..]);
    fs::remove_file(&object).unwrap();
    fs::write(&object, b"not an object").unwrap();
    match scan(Target::History(repository.path.clone()), options()) {
        Ok(report) => assert_eq!(report.verdict, Verdict::Unjudged),
        Err(error) => assert_eq!(error.kind(), ErrorKind::GitFailed),
    }
}

#[test]
fn where_no_repository_is_there_is_no_history() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    for target in [
        Target::History(path.clone()),
        Target::Staged(path.clone()),
        Target::Since(path.clone(), "HEAD".into()),
    ] {
        assert_eq!(scan(target, options()).unwrap_err().kind(), ErrorKind::NotARepository);
    }
    assert_eq!(scan(Target::Tree(path.join("absent")), options()).unwrap_err().kind(), ErrorKind::Unreadable);
    assert_eq!(scan_tree(&path).verdict, Verdict::Nothing);
}

#[test]
fn a_decision_holds_for_a_value_and_until_its_day() {
    let mut repository = Repository::new(106);
    let (one, two) = (repository.token(), repository.token());
    repository.write("a.txt", format!("t = {one}\n"));
    let fingerprint = scan_tree(&repository.path).findings[0].fingerprint.clone();
    let decided = |expires: &str| {
        let file = repository.path.with_file_name("decided.toml");
        let entry = format!(
            "version = 1\n[[suppress]]\nfingerprint = \"{fingerprint}\"\nowner = \"a\"\nreason = \"b\"\nexpires = {expires}\n"
        );
        fs::write(&file, entry).unwrap();
        let suppressions = ops_secrets::scan::Suppressions::load(&file).unwrap();
        scan(Target::History(repository.path.clone()), Options { suppressions, ..options() }).unwrap()
    };
    // The tests' clock stands at 2026-09-21.
    for (expires, verdict, state) in
        [("2026-09-21", Verdict::Clean, State::Suppressed), ("2026-09-20", Verdict::Found, State::Expired)]
    {
        let report = decided(expires);
        assert_eq!((report.verdict, report.findings[0].state), (verdict, state), "{expires}");
    }
    // It follows the value to another file and line, and covers no other value in its place.
    repository.write("a.txt", "nothing\n");
    repository.write("b/c.txt", format!("\n\n{one}\n"));
    assert_eq!(decided("2027-01-01").verdict, Verdict::Clean);
    repository.write("b/c.txt", format!("\n\n{two}\n"));
    let report = decided("2027-01-01");
    assert_eq!(
        (report.verdict, report.unused.as_slice()),
        (Verdict::Found, [fingerprint.clone()].as_slice())
    );
    let baseline =
        ops_secrets::scan::Baseline::new(report.findings.iter().map(|finding| finding.fingerprint.clone()));
    let report = scan(Target::Tree(repository.path.clone()), Options { baseline, ..options() }).unwrap();
    assert_eq!((report.verdict, report.findings[0].state), (Verdict::Clean, State::Baseline));
}

#[test]
fn a_value_in_use_stands_nowhere() {
    let repository = Repository::new(107);
    // No rule would look at it twice.
    let value = "correct horse battery";
    let encoded = super::corpus::rng::base64(format!("xy{value}").as_bytes());
    gone(&repository, format!("{encoded}\n"));
    let known = || vec![("DB_PASSWORD".to_owned(), value.into())];
    assert_eq!(repository.history().verdict, Verdict::Clean);
    let report =
        scan(Target::History(repository.path.clone()), Options { known: known(), ..options() }).unwrap();
    assert_eq!(report.verdict, Verdict::Found);
    assert_eq!(report.findings[0].title, "The value of DB_PASSWORD, which is in use");
    assert!(!serde_json::to_string(&report).unwrap().contains("correct"));
    let short = Options { known: vec![("PIN".to_owned(), "12345".into())], ..options() };
    assert_eq!(
        scan(Target::Tree(repository.path.clone()), short).unwrap_err().kind(),
        ErrorKind::InvalidOption
    );
}

#[test]
fn what_cannot_be_read_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    // Reading its own memory from the start fails for everybody, also for root.
    fs::create_dir(folder.path().join("sub")).unwrap();
    let bomb = gzip(&vec![b'x'; 5 << 20]);
    fs::write(folder.path().join("sub/bomb.gz"), &bomb).unwrap();
    let small = Options { largest: 1 << 20, ..options() };
    let report = scan(Target::Tree(folder.path().into()), small).unwrap();
    assert_eq!(report.verdict, Verdict::Unjudged);
    assert_eq!(
        (report.gaps[0].place.as_str(), report.gaps[0].reason.as_str()),
        ("sub/bomb.gz", "unpacks to more than 1 MiB")
    );
    let excluded =
        Options { largest: 1 << 20, exclude: vec![glob::Pattern::new("sub/*.gz").unwrap()], ..options() };
    fs::write(folder.path().join("a.txt"), "a").unwrap();
    let report = scan(Target::Tree(folder.path().into()), excluded).unwrap();
    assert_eq!((report.verdict, report.excluded), (Verdict::Clean, 1));
}

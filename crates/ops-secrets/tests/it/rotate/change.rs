//! A rotation that is cut off anywhere goes on, and nobody is left without a password that works.

use ops_secrets::rotate::change::{Record, Step, Target, apply, plan, record};
use ops_secrets::rotate::{Error, ErrorKind, FolderProvider, Provider as _, Work};
use ops_secrets::{Masker, Secret};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

/// An issuer that counts what it is asked, and at one call fails: before it does it, or after.
struct Issuer {
    passwords: Mutex<BTreeMap<String, String>>,
    calls: Mutex<usize>,
    fails_at: Option<(usize, When)>,
    refuses: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Before,
    After,
}

impl Issuer {
    fn new() -> Self {
        let passwords = ["a", "b"].map(|name| (name.to_owned(), "old-password-0".to_owned()));
        Self { passwords: Mutex::new(passwords.into()), calls: Mutex::new(0), fails_at: None, refuses: false }
    }

    fn logs_in(&self, account: &str, password: &str) -> bool {
        self.passwords.lock().unwrap().get(account).is_some_and(|known| known == password)
    }

    fn step<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let call = {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            *calls
        };
        let lost = || Err(Error::new(ErrorKind::Unavailable, "the connection is lost"));
        match self.fails_at {
            Some((at, When::Before)) if at == call => lost(),
            Some((at, When::After)) if at == call => work().and_then(|_| lost()),
            _ => work(),
        }
    }
}

impl Target for Issuer {
    fn name(&self) -> String {
        "issuer of the test".into()
    }

    fn check<'a>(&'a self, account: &'a str) -> Work<'a, ()> {
        Box::pin(async move {
            self.step(|| {
                let known = self.passwords.lock().unwrap().contains_key(account);
                known
                    .then_some(())
                    .ok_or_else(|| Error::new(ErrorKind::Missing, format!("no account `{account}`")))
            })
        })
    }

    fn set<'a>(&'a self, account: &'a str, value: &'a Secret) -> Work<'a, ()> {
        Box::pin(async move {
            self.step(|| {
                self.passwords.lock().unwrap().insert(account.to_owned(), value.expose_secret().clone());
                Ok(())
            })
        })
    }

    fn verify<'a>(&'a self, account: &'a str, value: &'a Secret) -> Work<'a, ()> {
        Box::pin(async move {
            self.step(|| {
                let old = value.expose_secret().ends_with("-0");
                if self.logs_in(account, value.expose_secret()) && (old || !self.refuses) {
                    return Ok(());
                }
                Err(Error::new(ErrorKind::Refused, "the login was refused"))
            })
        })
    }
}

async fn rotate(
    issuer: &Issuer,
    folder: &Path,
    accounts: &[&str],
    number: u64,
    stop_after: Option<Step>,
) -> Result<Record, Error> {
    let accounts: Vec<String> = accounts.iter().map(|name| (*name).to_owned()).collect();
    let plan = plan(issuer, folder, &accounts).await?;
    let now = UNIX_EPOCH + Duration::from_secs(number);
    let new = || Secret::from(format!("new-password-{number}"));
    let told = |step| {
        if stop_after == Some(step) { Err(Error::new(ErrorKind::Io, "cannot be audited")) } else { Ok(()) }
    };
    apply(issuer, plan, &Masker::new(), now, new, told).await
}

async fn published(folder: &Path) -> Option<(String, String)> {
    let mut fetched = FolderProvider::new(folder).fetch().await.ok()?;
    let mut take = |name| fetched.fields.remove(name).map(|secret| secret.expose_secret().clone());
    Some((take("username")?, take("password")?))
}

/// What stands in the folder, but for the lock.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name != "..lock");
    names.sort();
    names
}

const STEPS: [Step; 5] = [Step::Prepared, Step::Set, Step::Verified, Step::Published, Step::Finished];

#[tokio::test]
async fn wherever_it_is_cut_off_the_next_run_goes_on() {
    let calls =
        (1..=4).flat_map(|call| [(Some((call, When::Before)), None), (Some((call, When::After)), None)]);
    let all: Vec<_> = calls.chain(STEPS.map(|step| (None, Some(step)))).collect();
    assert_eq!(all.len(), 13);
    for accounts in [vec!["a"], vec!["a", "b"]] {
        for (fails_at, stop_after) in &all {
            let what = format!("{accounts:?} {fails_at:?} {stop_after:?}");
            let folder = tempfile::tempdir().unwrap();
            let mut issuer = Issuer::new();
            rotate(&issuer, folder.path(), &accounts, 1, None).await.unwrap();
            let before = published(folder.path()).await.unwrap();
            *issuer.calls.lock().unwrap() = 0;
            issuer.fails_at = *fails_at;
            let cut = rotate(&issuer, folder.path(), &accounts, 2, *stop_after).await;
            // There are three calls: check, set, verify.
            assert_eq!(cut.is_err(), fails_at.is_none_or(|(call, _)| call <= 3), "{what}");
            let between = published(folder.path()).await.expect("there is always one");
            if accounts.len() == 2 {
                assert!(
                    issuer.logs_in(&between.0, &between.1),
                    "what is published works at every moment: {what}"
                );
            }
            issuer.fails_at = None;
            let done = rotate(&issuer, folder.path(), &accounts, 3, None).await.unwrap();
            let after = published(folder.path()).await.unwrap();
            assert!(issuer.logs_in(&after.0, &after.1), "{what}");
            assert_ne!(before, after, "{what}");
            assert_eq!(done.account, after.0, "{what}");
            assert_eq!(record(folder.path()).unwrap(), Some(done.clone()), "{what}");
            let version = format!("..v{}", done.generation);
            assert_eq!(
                names(folder.path()),
                ["..data", "..rotated.json", version.as_str(), "password", "username"],
                "{what}"
            );
            // What was prepared is what came into use: the account never has a password that stands nowhere.
            let finished_before =
                fails_at.is_some_and(|(call, _)| call > 3) || *stop_after == Some(Step::Finished);
            let resumed = !finished_before && fails_at.is_none_or(|(call, _)| call > 1);
            assert_eq!(after.1, format!("new-password-{}", if resumed { 2 } else { 3 }), "{what}");
        }
    }
}

#[tokio::test]
async fn a_login_that_is_refused_is_undone() {
    for accounts in [vec!["a"], vec!["a", "b"]] {
        let folder = tempfile::tempdir().unwrap();
        let mut issuer = Issuer::new();
        std::fs::create_dir(folder.path().join("..v0")).unwrap();
        std::fs::write(folder.path().join("..v0/username"), "a").unwrap();
        std::fs::write(folder.path().join("..v0/password"), "old-password-0").unwrap();
        std::os::unix::fs::symlink("..v0", folder.path().join("..data")).unwrap();
        issuer.refuses = true;
        let error = rotate(&issuer, folder.path(), &accounts, 1, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let now = published(folder.path()).await.unwrap();
        assert_eq!(now, ("a".to_owned(), "old-password-0".to_owned()));
        assert!(issuer.logs_in(&now.0, &now.1), "{accounts:?}");
        assert!(!names(folder.path()).contains(&"..pending".to_owned()));
        issuer.refuses = false;
        let done = rotate(&issuer, folder.path(), &accounts, 2, None).await.unwrap();
        assert_eq!(done.account, *accounts.last().unwrap());
    }
}

#[tokio::test]
async fn accounts_take_turns_and_the_last_one_keeps_working() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let mut last: Option<(String, String)> = None;
    for (number, expected) in (1..=6).zip(["a", "b"].into_iter().cycle()) {
        let done = rotate(&issuer, folder.path(), &["a", "b"], number, None).await.unwrap();
        assert_eq!((done.account.as_str(), done.generation), (expected, number));
        if let Some((account, password)) = &last {
            assert!(issuer.logs_in(account, password), "the one before is valid until the next rotation");
        }
        last = published(folder.path()).await;
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_before_anything_changes() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let kind = |end: Result<Record, Error>| end.unwrap_err().kind();
    assert_eq!(kind(rotate(&issuer, folder.path(), &["nobody"], 1, None).await), ErrorKind::Missing);
    assert_eq!(kind(rotate(&issuer, folder.path(), &[], 1, None).await), ErrorKind::Invalid);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "what is refused makes no file");
    rotate(&issuer, folder.path(), &["a"], 1, Some(Step::Set)).await.unwrap_err();
    assert_eq!(kind(rotate(&issuer, folder.path(), &["b"], 1, None).await), ErrorKind::Invalid);
    let resumed = plan(&issuer, folder.path(), &["a".into()]).await.unwrap();
    assert!(resumed.resumes() && resumed.account() == "a" && !resumed.interrupts());
    assert!(!format!("{resumed:?}").contains("new-password"));
    assert_eq!(kind(rotate(&issuer, folder.path(), &["a"], 1, None).await), ErrorKind::Busy);
    drop(resumed);
    for torn in
        ["", "{", "{\"version\":2,\"account\":\"a\",\"value\":\"hidden-value\"}", "[\"hidden-value\"]"]
    {
        std::fs::write(folder.path().join("..pending"), torn).unwrap();
        let error = plan(&issuer, folder.path(), &["a".into()]).await.unwrap_err();
        assert!(!error.to_string().contains("hidden-value"), "{error}");
    }
}

#[tokio::test]
async fn a_plan_makes_nothing_and_two_of_them_do_not_both_work() {
    let (root, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let folder = root.path().join("db");
    let (one, other) =
        (plan(&issuer, &folder, &["a".into()]).await, plan(&issuer, &folder, &["a".into()]).await);
    assert!(!folder.exists());
    let work = async |plan, number: u64| {
        let new = || Secret::from(format!("new-password-{number}"));
        apply(&issuer, plan, &Masker::new(), UNIX_EPOCH, new, |_| Ok(())).await
    };
    work(one.unwrap(), 1).await.unwrap();
    assert_eq!(work(other.unwrap(), 2).await.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(published(&folder).await.unwrap().1, "new-password-1");
    assert!(issuer.logs_in("a", "new-password-1"));
}

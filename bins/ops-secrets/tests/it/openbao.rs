//! `rotate openbao` against a real server.

use crate::{command, text};
use ops_testkit::OpenBao;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A server with an entry at version 1.
pub(crate) fn start() -> Result<OpenBao, ops_testkit::Error> {
    let bao = OpenBao::start()?;
    for (mount, version) in [("kv", 2), ("old", 1)] {
        bao.request(
            "POST",
            &format!("sys/mounts/{mount}"),
            &format!(r#"{{"type":"kv","options":{{"version":"{version}"}}}}"#),
        )?;
    }
    let entry = r#"{"data":{"username":"me","password":"old-password-0"}}"#;
    let deadline = Instant::now() + Duration::from_secs(30);
    // For a moment after it was made the mount refuses everything.
    while let Err(error) = bao.request("POST", "kv/data/shop/db", entry) {
        assert!(Instant::now() < deadline, "{error}");
        std::thread::sleep(Duration::from_millis(50));
    }
    bao.request("POST", "old/db", r#"{"password":"old-password-0"}"#)?;
    Ok(bao)
}

fn rotation(bao: &OpenBao, folder: &Path, words: &[&str]) -> Command {
    let mut command = command(&["rotate", "openbao"]);
    command.args(words).arg("--folder").arg(folder);
    command.env("BAO_ADDR", bao.url()).env("BAO_TOKEN", bao.root_token());
    command
}

fn run(bao: &OpenBao, folder: &Path, words: &[&str]) -> Output {
    rotation(bao, folder, words).output().unwrap()
}

/// The entry as the server has it.
fn entry(bao: &OpenBao) -> serde_json::Value {
    let answer: serde_json::Value =
        serde_json::from_str(&bao.request("GET", "kv/data/shop/db", "").unwrap()).unwrap();
    answer["data"].clone()
}

const PASSWORD: [&str; 3] = ["kv/shop/db", "--field", "password"];

#[test]
fn a_field_gets_a_new_value_and_nothing_shows_it() {
    let bao = ops_testkit::or_skip!(start());
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("state");
    let shown = |done: &Output| {
        let text = text(done);
        assert!(!text.contains(bao.root_token()) && !text.contains("old-password"), "{text}");
        text.replace(&bao.url(), "SERVER").replace(root.path().to_str().unwrap(), "ROOT")
    };
    insta::assert_snapshot!("openbao_plan", shown(&run(&bao, &folder, &PASSWORD)));
    assert!(!folder.exists(), "a plan makes nothing");
    assert_eq!(entry(&bao)["metadata"]["version"], 1);

    let apply = [&PASSWORD[..], &["--apply"]].concat();
    let done = run(&bao, &folder, &apply);
    assert_eq!(done.status.code(), Some(0), "{}", shown(&done));
    let now = entry(&bao);
    let password = now["data"]["password"].as_str().unwrap();
    assert_eq!((password.len(), &now["data"]["username"]), (32, &"me".into()));
    let said = shown(&done);
    assert!(
        said.contains("done     kv/shop/db is at version 2, and its field `password` was read back"),
        "{said}"
    );
    assert!(!said.contains(password));
    for step in ["prepared", "set", "verified", "finished"] {
        assert!(said.contains(&format!("step={step}")), "{step} is audited: {said}");
    }
    insta::assert_snapshot!(
        "openbao_plan_json",
        shown(&run(&bao, &folder, &[&PASSWORD[..], &["--format", "json"]].concat()))
    );

    // A value from standard input, and the server and the token from our own settings.
    let mut given =
        command(&[&["rotate", "openbao"][..], &apply, &["--value-from", "-", "--folder"]].concat());
    let token = root.path().join("token");
    fs::write(&token, format!("{}\n", bao.root_token())).unwrap();
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    given
        .arg(&folder)
        .env("OPS_SECRETS_OPENBAO_ADDRESS", bao.url())
        .env("OPS_SECRETS_OPENBAO_TOKEN_FILE", &token);
    // It would be a second way to log in, were the settings not to win as a whole.
    given.env("VAULT_ROLE_ID", "stale");
    let mut given =
        given.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    given.stdin.take().unwrap().write_all(b"given-password-1\n").unwrap();
    let given = given.wait_with_output().unwrap();
    assert_eq!(given.status.code(), Some(0), "{}", shown(&given));
    assert!(!text(&given).contains("given-password"));
    assert_eq!(entry(&bao)["data"]["password"], "given-password-1");
    assert_eq!(entry(&bao)["metadata"]["version"], 3);

    // The record is what the schedule reads.
    let schedule = root.path().join("rotation.toml");
    let secret = "version = 1\n[[secret]]\nname = 'shop'\nowner = 'a'\nevery = '90d'\nfolder = 'state'\n";
    fs::write(&schedule, secret).unwrap();
    assert_eq!(command(&["due"]).arg(&schedule).output().unwrap().status.code(), Some(0));
}

#[test]
fn a_policy_for_the_entry_alone_suffices_and_a_login_of_ours_leaves_no_token() {
    let bao = ops_testkit::or_skip!(start());
    let root = tempfile::tempdir().unwrap();
    let ask = |method: &str, path: &str, body: serde_json::Value| -> serde_json::Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        serde_json::from_str(&bao.request(method, path, &body).unwrap()).unwrap_or_default()
    };
    let rule = r#"path "kv/data/shop/db" { capabilities = ["read", "update"] }"#;
    ask("PUT", "sys/policies/acl/rotation", serde_json::json!({ "policy": rule }));
    ask("POST", "sys/auth/approle", serde_json::json!({ "type": "approle" }));
    ask("POST", "auth/approle/role/rotation", serde_json::json!({ "token_policies": ["rotation"] }));
    let role = ask("GET", "auth/approle/role/rotation/role-id", serde_json::Value::Null);
    let secret = ask("POST", "auth/approle/role/rotation/secret-id", serde_json::json!({}));
    let [role, secret] =
        [&role["data"]["role_id"], &secret["data"]["secret_id"]].map(|id| id.as_str().unwrap());
    let tokens =
        || ask("GET", "auth/token/accessors?list=true", serde_json::Value::Null)["data"]["keys"].clone();
    let before = tokens();
    let words = [&PASSWORD[..], &["--apply"]].concat();
    let mut rotation = rotation(&bao, &root.path().join("state"), &words);
    rotation.env_remove("BAO_TOKEN").env("BAO_ROLE_ID", role).env("BAO_SECRET_ID", secret);
    let done = rotation.output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    assert!(!text(&done).contains(secret));
    assert_eq!(entry(&bao)["metadata"]["version"], 2);
    assert_eq!(tokens(), before);
}

#[test]
fn a_rotation_that_was_cut_off_goes_on_or_is_given_up() {
    let mut bao = ops_testkit::or_skip!(start());
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("state");
    let apply = [&PASSWORD[..], &["--apply"]].concat();
    assert_eq!(run(&bao, &folder, &apply).status.code(), Some(0));
    // As a run leaves it that was killed before its request, and after it.
    let pending = |seen: u64, value: &str| {
        let note = serde_json::json!({
            "version": 1, "server": bao.url(), "entry": "kv/shop/db#password", "seen": seen, "generation": 2, "value": value
        });
        fs::write(folder.join("..pending"), note.to_string()).unwrap();
    };
    pending(2, "kept-password-2");
    let resumed = run(&bao, &folder, &apply);
    assert_eq!(resumed.status.code(), Some(0), "{}", text(&resumed));
    assert!(text(&resumed).contains("resumes  an earlier rotation was cut off"), "{}", text(&resumed));
    assert_eq!(entry(&bao)["data"]["password"], "kept-password-2");
    assert_eq!(entry(&bao)["metadata"]["version"], 3);
    pending(2, "kept-password-2");
    assert_eq!(run(&bao, &folder, &apply).status.code(), Some(0));
    assert_eq!(entry(&bao)["metadata"]["version"], 3, "nothing is changed twice");
    pending(2, "lost-password-2");
    let given_up = run(&bao, &folder, &apply);
    let shown = text(&given_up);
    assert_eq!(given_up.status.code(), Some(20), "{shown}");
    for words in
        ["given up an earlier rotation", "step=given_up", "somebody else has changed it from version 2 to 3"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("-password-2") && !folder.join("..pending").exists(), "{shown}");
    assert_eq!(entry(&bao)["data"]["password"], "kept-password-2");

    bao.kill();
    let down = run(&bao, &folder, &PASSWORD);
    assert_eq!(down.status.code(), Some(69), "{}", text(&down));
}

#[test]
fn what_cannot_be_rotated_says_why() {
    let bao = ops_testkit::or_skip!(start());
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("state");
    let shown = |done: &Output| text(done).replace(&bao.url(), "SERVER");
    let words = |path: &'static str| run(&bao, &folder, &[path, "--field", "password", "--apply"]);
    insta::assert_snapshot!("openbao_version_1", shown(&words("old/db")));
    insta::assert_snapshot!("openbao_no_entry", shown(&words("kv/none")));
    let mut stranger = rotation(&bao, &folder, &PASSWORD);
    let stranger = stranger.env("BAO_TOKEN", "s.hunter2-no-such-token").output().unwrap();
    assert!(!text(&stranger).contains("hunter2"));
    insta::assert_snapshot!("openbao_refused", shown(&stranger));
    assert!(!folder.exists());
}

#[test]
fn where_no_server_is_set_it_says_what_to_set() {
    let words = [&["rotate", "openbao"][..], &PASSWORD, &["--folder", "/nonexistent/x"]].concat();
    insta::assert_snapshot!("openbao_no_server", text(&command(&words).output().unwrap()));
    let no_login = command(&words).env("OPS_SECRETS_OPENBAO_ADDRESS", "https://vault.example").output();
    insta::assert_snapshot!("openbao_no_login", text(&no_login.unwrap()));
    let mut empty = command(&[&words[..], &["--value-from", "-"]].concat());
    let empty = empty.env("BAO_ADDR", "http://127.0.0.1:1").env("BAO_TOKEN", "x-no-token").output().unwrap();
    assert_eq!(empty.status.code(), Some(65), "{}", text(&empty));
    insta::assert_snapshot!(
        "openbao_help",
        text(&command(&["rotate", "openbao", "--help"]).output().unwrap())
    );
}

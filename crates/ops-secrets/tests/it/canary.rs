//! The search for leaks: a value that must never be printed, in every source, as every wrong type, in every broken file.

use crate::support::{Logged, Settings, everything_printable, file, loader, vars};
use ops_secrets::{Document, Error, Fetch, Fetching, Loaded, Loader, Profile, Reference, References, Scheme};
use std::path::Path;
use std::sync::Arc;

const CANARIES: [&str; 5] =
    ["S3NT1NEL-tweet", "8675309424242", "867530942.4242", "S3NT1NEL,tweet", "[S3NT1NEL"];

/// Pieces that would betray a canary.
const TRACES: [&str; 5] = ["S3NT1NEL", "tweet", "8675309", "424242", "4242"];

/// Settings that accept none of the canaries.
const KEYS: [&str; 11] =
    ["port", "on", "mode", "address", "numbers", "wait", "limits", "pin", "login", "servers", "s3"];

fn assert_silent(result: &Result<Loaded<Settings>, Error>, what: &str) {
    let printed = everything_printable(result);
    for trace in TRACES {
        assert!(!printed.contains(trace), "{what}: {trace} in\n{printed}");
    }
}

fn assert_refused(result: &Result<Loaded<Settings>, Error>, what: &str) {
    assert!(result.is_err(), "{what} is accepted");
    assert_silent(result, what);
}

#[test]
fn no_wrong_value_is_ever_printed() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for key in KEYS {
        for canary in CANARIES {
            // Each canary in each TOML type, alone and nested.
            let quoted = format!("'{canary}'");
            let bare = if canary.parse::<f64>().is_ok() { canary } else { &quoted };
            for literal in [
                &quoted,
                bare,
                &format!("[{bare}]"),
                &format!("[[{quoted}]]"),
                &format!("{{a = {quoted}}}"),
                &format!("{{{key} = {bare}}}"),
            ] {
                // A number is a number, and an empty list of it may be one too.
                if (key, literal) == ("pin", "8675309424242") {
                    continue;
                }
                let toml = file(dir.path(), "ops.toml", format!("{key} = {literal}").as_bytes());
                assert_refused(&loader().toml_file(&toml).load(), &format!("{key} = {literal} in TOML"));
                seen += 1;
            }
            if (key, canary) == ("pin", "8675309424242") || key == "s3" {
                continue;
            }
            let name = format!("OPS_{}", key.to_uppercase());
            let value = file(dir.path(), "value", canary.as_bytes());
            let by_name =
                |name: String, value: &str| loader().env_vars("OPS_", [(name.into(), value.into())]).load();
            assert_refused(&by_name(name.clone(), canary), &format!("{name}={canary}"));
            assert_refused(
                &by_name(format!("{name}_FILE"), value.to_str().unwrap()),
                &format!("{name}_FILE with {canary}"),
            );
            assert_refused(
                &loader().flag(key, canary, "--flag").load(),
                &format!("--flag {canary} for {key}"),
            );
            seen += 3;
        }
    }
    assert!(seen > 400, "only {seen} combinations were tried");
}

#[test]
fn no_line_of_a_broken_file_is_ever_printed() {
    let dir = tempfile::tempdir().unwrap();
    let broken = [
        "password = S3NT1NEL-tweet",
        "password = 'S3NT1NEL-tweet",
        "password = \"S3NT1NEL-tweet",
        "password = \"S3NT1NEL\\qtweet\"",
        "password = \"S3NT1NEL-tweet\" S3NT1NEL",
        "password = 'S3NT1NEL'tweet'",
        "password = \"\"\"S3NT1NEL-tweet",
        "password == 'S3NT1NEL-tweet'",
        "password 'S3NT1NEL-tweet'",
        "password: S3NT1NEL-tweet",
        "S3NT1NEL-tweet",
        "= 'S3NT1NEL-tweet'",
        "password = { S3NT1NEL-tweet }",
        "password = { a = 'S3NT1NEL-tweet'",
        "password = ['S3NT1NEL-tweet'",
        "password = 'S3NT1NEL-tweet'\npassword = 'S3NT1NEL-tweet'",
        "[password]\nS3NT1NEL = 'S3NT1NEL-tweet'",
        "[[password]]\nS3NT1NEL = 'S3NT1NEL-tweet'",
        "[s3]\nsecret_access_key.S3NT1NEL = 'tweet'",
        "[s3]\nsecret_access_key = 'S3NT1NEL-tweet'\n[s3]",
        "'S3NT1NEL tweet' = 1",
        "[s3]\n'S3NT1NEL/tweet' = 1",
        "password = 8675309_4242_",
        "password = 8675309424242",
        "password = 0x8675309zz424242",
        "password = 8675309-42-42",
        "password = 8675309424242424242424242424242424242424242424242",
        "password = true S3NT1NEL-tweet",
        "password = 'S3NT1NEL\ntweet'",
        "password = \"S3NT1NEL\u{1}tweet\"",
        "[S3NT1NEL tweet]",
        "password = \"\\uS3NT1NEL\"",
        "pasword = 'S3NT1NEL-tweet'",
        "port = 'S3NT1NEL-tweet'\npassword = 'S3NT1NEL-tweet'",
        "servers = [{host = 'h', port = 'S3NT1NEL-tweet', password = 'S3NT1NEL-tweet'}]",
        "servers = [{host = 'h', password = 'S3NT1NEL-tweet'}]",
        "[login]\nPassword = ['S3NT1NEL-tweet']",
        "[login]\nS3NT1NEL = 'S3NT1NEL-tweet'",
        "login = 'S3NT1NEL-tweet'",
        "tokens = 'S3NT1NEL-tweet'",
        "tokens = [['S3NT1NEL-tweet']]",
        "tokens = [8675309424242]",
    ];
    for text in broken {
        let toml = file(dir.path(), "ops.toml", text.as_bytes());
        assert_refused(&loader().toml_file(&toml).load(), text);
        // The same bytes cut anywhere may be well-formed, but are as silent.
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            let toml = file(dir.path(), "ops.toml", &text.as_bytes()[..end]);
            assert_silent(&loader().toml_file(&toml).load(), &text[..end]);
        }
    }
}

#[test]
fn no_odd_source_is_ever_printed() {
    let dir = tempfile::tempdir().unwrap();
    let in_dir = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    file(dir.path(), "binary", b"S3NT1NEL\xfftweet");
    file(dir.path(), "huge", "S3NT1NEL-tweet".repeat(10_000).as_bytes());
    let cases = [
        // The secret itself where its file's name belongs.
        loader().env_vars("OPS_", vars([("OPS_PASSWORD_FILE", "S3NT1NEL-tweet")])).load(),
        loader().env_vars("OPS_", vars([("OPS_PASSWORD_FILE", "S3NT1NEL\0tweet")])).load(),
        loader().env_vars("OPS_", vars([("OPS_PASSWORD_FILE", &in_dir("binary"))])).load(),
        loader().env_vars("OPS_", vars([("OPS_PASSWORD_FILE", &in_dir("huge"))])).load(),
        loader()
            .env_vars("OPS_", vars([("OPS_PASSWORD", "S3NT1NEL"), ("OPS_PASSWORD_FILE", "tweet")]))
            .load(),
        loader().flag("passwort", "S3NT1NEL-tweet", "--password").load(),
        loader().defaults_toml("password = 'S3NT1NEL-tweet").load(),
        loader().defaults_toml("password = ['S3NT1NEL-tweet']").load(),
        #[cfg(unix)]
        loader().env_vars("OPS_", [("OPS_PASSWORD".into(), not_utf8())]).load(),
    ];
    for (index, result) in cases.iter().enumerate() {
        assert_refused(result, &format!("case {index}"));
    }
}

#[cfg(unix)]
fn not_utf8() -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(b"S3NT1NEL\xfftweet".to_vec())
}

#[test]
fn nothing_of_a_good_secret_is_ever_printed() {
    let dir = tempfile::tempdir().unwrap();
    let load = |path: &Path| {
        loader()
            .toml_file(path)
            .env_vars(
                "OPS_",
                vars([
                    ("OPS_PASSWORD", " S3NT1NEL-tweet\n"),
                    ("OPS_PIN", "8675309424242"),
                    ("OPS_TOKENS", "S3NT1NEL,tweet"),
                    ("OPS_LOGIN", "{Password = 'S3NT1NEL'}"),
                    ("OPS_REPO", "postgres://me:S3NT1NEL-tweet@host/db?password=tweet"),
                    ("OPS_PASWORD", "S3NT1NEL-tweet"),
                ]),
            )
            .load()
    };
    let text = "password = 'tweet'\n[[servers]]\nhost='h'\nport=1\npassword='S3NT1NEL-tweet'\n[s3]\nsecret_access_key='S3NT1NEL-tweet'";
    let toml = file(dir.path(), "ops.toml", text.as_bytes());
    let mut loaded = load(&toml).unwrap();
    // The program's own text field holds what it was given; the report of it does not.
    assert!(loaded.settings.repo.contains("S3NT1NEL"));
    loaded.settings.repo.clear();
    assert_silent(&Ok(loaded), "a good load");
}

/// Every source that takes a text, with the canary as the value of a setting.
fn every_source(dir: &Path, key: &str, canary: &str) -> Vec<(&'static str, Loader<Settings>)> {
    let name = format!("OPS_{}", key.to_uppercase());
    let value = file(dir, "value", canary.as_bytes());
    let path = value.to_str().unwrap();
    let folder = dir.join(format!("mounted-{key}"));
    std::fs::create_dir_all(&folder).unwrap();
    file(&folder, key, canary.as_bytes());
    let toml = file(dir, "ops.toml", b"");
    file(dir, "ops.prod.toml", format!("{key} = '{canary}'").as_bytes());
    let dotenv =
        |line: String| loader().env_vars("OPS_", []).dotenv_file(&file(dir, ".env", line.as_bytes()));
    let json = file(dir, "value.json", format!("{{\"a\": {{\"b\": \"{canary}\"}}}}").as_bytes());
    let server = Server(canary.to_owned());
    let references = || {
        let variables = vars([("CANARY", canary), ("PATH", "/usr/bin:/bin")]);
        References::new().env_vars(variables).allow_commands().fetcher(Arc::new(server.clone()))
    };
    let reference =
        |text: &str| loader().references(references()).reference_in(key).flag(key, text, "--flag");
    let mut all = vec![
        ("variable", loader().env_vars("OPS_", [(name.clone().into(), canary.into())])),
        ("_FILE", loader().env_vars("OPS_", vars([(format!("{name}_FILE").as_str(), path)]))),
        ("profile", loader().toml_file(&toml).profile(Profile::Prod)),
        ("mounted", loader().secrets_dir(&folder)),
        ("systemd", loader().systemd_credentials(&folder)),
        ("flag", loader().flag(key, canary, "--flag")),
    ];
    // The files of the next source would replace those of the one before.
    all.push((".env", dotenv(format!("{name}='{canary}'"))));
    if ["pin", "login", "numbers", "servers"].contains(&key) {
        all.push(("env://", reference("env://CANARY")));
        all.push(("file://", reference(&format!("file://{path}"))));
        all.push(("file:// field", reference(&format!("file://{}#a.b", json.display()))));
        all.push(("file:// table", reference(&format!("file://{}#a", json.display()))));
        all.push(("literal://", reference(&format!("literal://{canary}"))));
        all.push(("exec://", reference(&format!("exec://[\"printf\", \"%s\", \"{canary}\"]"))));
        for scheme in SERVERS {
            all.push((scheme.name(), reference(&format!("{}://x", scheme.name()))));
            all.push((scheme.name(), reference(&format!("{}://x#b", scheme.name()))));
            all.push((scheme.name(), reference(&format!("{}://fields#a.b", scheme.name()))));
            all.push((scheme.name(), reference(&format!("{}://fields#a", scheme.name()))));
        }
    }
    all
}

const SERVERS: [Scheme; 6] = [
    Scheme::Vault,
    Scheme::OpenBao,
    Scheme::AwsSecretsManager,
    Scheme::AwsParameterStore,
    Scheme::Sops,
    Scheme::Age,
];

/// A stand-in for what fetches documents: the canary as a text, or in a field.
#[derive(Clone)]
struct Server(String);

impl Fetch for Server {
    fn schemes(&self) -> &[Scheme] {
        &SERVERS
    }

    fn fetch<'a>(&'a self, reference: &'a Reference) -> Fetching<'a> {
        let fields = serde_json::json!({ "a": { "b": self.0 } });
        let document = match (reference.address(), fields) {
            ("fields", serde_json::Value::Object(fields)) => Document::fields(fields),
            _ => Document::text(self.0.as_str()),
        };
        Box::pin(std::future::ready(Ok(document)))
    }
}

#[test]
fn no_wrong_value_of_any_source_is_ever_printed() {
    let (mut seen, mut spans) = (0, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for key in KEYS.into_iter().filter(|key| *key != "s3") {
        for canary in CANARIES {
            if (key, canary) == ("pin", "8675309424242") {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            for (source, loader) in every_source(dir.path(), key, canary) {
                let printed = format!("{loader:?} {loader:#?}");
                assert!(TRACES.iter().all(|trace| !printed.contains(trace)), "{source}: {printed}");
                let mut loaded = None;
                let said = Logged::during(|| loaded = Some(runtime.block_on(loader.load_async())));
                spans += usize::from(said.contains("count="));
                assert!(TRACES.iter().all(|trace| !said.contains(trace)), "{source}: {said}");
                assert_refused(&loaded.unwrap(), &format!("{key} = {canary} by {source}"));
                seen += 1;
            }
        }
    }
    assert!(seen > 700 && spans > 100, "only {seen} combinations were tried, and {spans} logged");
}

/// Documents that are cut anywhere, with each field that somebody may ask for.
#[test]
fn no_byte_of_a_broken_document_is_ever_printed() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for text in [
        r#"{"password": "S3NT1NEL-tweet", "list": ["S3NT1NEL"], "n": 8675309424242, "S3NT1NEL": {"tweet": null}}"#,
        r#"{"password": "S3NT1NEL\qtweet"}"#,
        r#"{"password": "S3NT1NEL" "tweet"}"#,
        r#"["S3NT1NEL-tweet"]"#,
        "\u{feff}{\"password\": \"S3NT1NEL-tweet\"}",
        "password: S3NT1NEL-tweet",
    ] {
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let document = file(dir.path(), "document", &text.as_bytes()[..end]);
            for field in ["#password", "#pasword", "#list", "#n", "#password.x", ""] {
                let reference = format!("file://{}{field}", document.display());
                for key in ["password", "pin"] {
                    let loaded = loader().flag(key, &reference, "--flag").load();
                    assert_silent(&loaded, &format!("{reference} of {}", &text[..end]));
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 2000, "only {seen} combinations were tried");
}

#[test]
fn no_line_of_a_broken_dotenv_file_is_ever_printed() {
    let dir = tempfile::tempdir().unwrap();
    for line in [
        "OPS_PORT=S3NT1NEL-tweet",
        "OPS_PASSWORD=S3NT1NEL tweet",
        "OPS_PASSWORD=S3NT1NEL$tweet",
        "OPS_PASSWORD=\"S3NT1NEL\\qtweet\"",
        "OPS_PASSWORD='S3NT1NEL-tweet' S3NT1NEL",
        "OPS_PASSWORD: S3NT1NEL-tweet",
        "S3NT1NEL-tweet",
        "S3NT1NEL-tweet=x",
        "\u{feff}OPS_PASSWORD='S3NT1NEL-tweet'",
        "OPS_PASSWORD='S3NT1NEL-tweet'\nOPS_PASSWORD='S3NT1NEL-tweet'",
        "OPS_PASSWORD_FILE='S3NT1NEL-tweet'",
        "OPS_PASSWORD='vault://S3NT1NEL/tweet'",
        "OPS_PASSWORD='valt://S3NT1NEL/tweet'",
        "OPS_PASSWORD='exec://sh -c \"S3NT1NEL\" tweet'",
    ] {
        for end in (0..=line.len()).filter(|end| line.is_char_boundary(*end)) {
            let dotenv = file(dir.path(), ".env", &line.as_bytes()[..end]);
            let loaded = loader().env_vars("OPS_", []).dotenv_file(&dotenv).load();
            assert_silent(&loaded, &line[..end]);
            assert!(loaded.is_err() || end < line.len(), "{line}");
        }
    }
}

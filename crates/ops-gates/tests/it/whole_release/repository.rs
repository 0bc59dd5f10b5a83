//! The repository that is released: its documents are those of the example, its scripts do real work, and what lies
//! outside of commits (keys, approvals, evidence) is made as the tools make it.

use crate::support::repository::Repository;
use jiff::{SignedDuration, Timestamp};
use ops_core::evidence::{Envelope, SigningKey};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Who approves, and with which role.
const PEOPLE: [(&str, &str); 5] = [
    ("Grace", "product-manager"),
    ("Ada", "backend-lead"),
    ("Edsger", "frontend-lead"),
    ("Barbara", "ops-duty-officer"),
    ("Katherine", "on-call"),
];

const MAKEFILE: &str = "lint:
\t@test ! -e broken/lint
test:
\t@python3 scripts/tests.py target/junit 110
test-integration:
\t@test -n \"$$TEST_MONGODB_URL\" && python3 scripts/tests.py target/junit-integration 25
check-env-example:
\t@test ! -e broken/env-example && echo complete
";

/// A real run of Python's unittest, and its result as JUnit.
const TESTS: &str = r#"import os, sys, unittest
import xml.etree.ElementTree as xml

folder, count = sys.argv[1], int(sys.argv[2])
broken = os.path.exists("broken/" + os.path.basename(folder))

class Orders(unittest.TestCase):
    pass

def test(n):
    def sums(self):
        self.assertEqual(sum(range(n + 1)), n * (n + 1) // 2 + (broken and n == 7))
    return sums

for n in range(count):
    setattr(Orders, "test_%d" % n, test(n))
suite = unittest.defaultTestLoader.loadTestsFromTestCase(Orders)
ids = [it.id() for it in suite]
result = unittest.TextTestRunner(stream=sys.stderr).run(suite)
failed = {it.id(): text for it, text in result.failures + result.errors}
out = xml.Element("testsuite", name="orders", tests=str(result.testsRun), failures=str(len(failed)), errors="0", skipped="0")
for it in ids:
    case = xml.SubElement(out, "testcase", classname="Orders", name=it, time="0.001")
    if it in failed:
        xml.SubElement(case, "failure", message="failed").text = failed[it]
os.makedirs(folder, exist_ok=True)
xml.ElementTree(out).write(folder + "/orders.xml", encoding="utf-8", xml_declaration=True)
sys.exit(1 if failed else 0)
"#;

const SMOKE: &str = r#"#!/usr/bin/env python3
import os, urllib.request
assert urllib.request.urlopen(os.environ["SMOKE_URL"] + "/ready").read() == b"ready"
print("SMOKE OK")
"#;

const LOGS: &str = r#"#!/usr/bin/env python3
import json, os, sys
for n in range(int(sys.argv[1])):
    if n == 9 and os.path.exists("broken/logs"):
        print("panicked at src/main.rs:7")
    print(json.dumps({"timestamp": "2026-11-21T06:00:00Z", "level": "INFO", "message": "order taken", "trace_id": "%032x" % (n + 1)}))
"#;

/// The repository, and the names of its commits.
pub(crate) struct Released {
    pub(crate) repository: Repository,
    /// What runs now, what is released, and a change that breaks every rule about changes.
    pub(crate) deployed: String,
    pub(crate) commit: String,
    pub(crate) bad: String,
}

impl Released {
    /// Fills the repository; `home` is where keys and approvals go.
    pub(crate) fn new(home: &Path, settings: &str, backup_key: &Path, drill_key: &Path) -> Self {
        let repository = Repository::new();
        super::copy(&super::examples().join("release"), &repository.path("release"));
        std::fs::copy(super::examples().join("policy.toml"), repository.path("policy.toml"))
            .expect("a policy");
        let today = jiff::Zoned::now().date().to_string();
        let rollback = std::fs::read_to_string(repository.path("release/rollback.md")).expect("a document");
        repository.write("release/rollback.md", &rollback.replace("2026-11-14", &today));
        repository.write("release/approvers.toml", &approvers(home, &PEOPLE));
        repository.write(".gitignore", "/evidence\n/target\n/broken\n/keys\n/.plan*\n");
        repository.write("ops.toml", settings);
        repository.write("Makefile", MAKEFILE);
        repository.write("scripts/tests.py", TESTS);
        for (name, text) in [("smoke_test.sh", SMOKE), ("stage_logs.sh", LOGS)] {
            program(&repository.path(&format!("scripts/{name}")), text);
        }
        for name in ["inventory", "payment", "ai_readonly"] {
            let text = format!("#!/bin/sh\ntest -e broken/poc-{name} || echo POC OK\n");
            program(&repository.path(&format!("scripts/poc_{name}.sh")), &text);
        }
        for name in ["inventory", "payment"] {
            repository.write(&format!("services/{name}/readme.md"), "An endpoint.\n");
        }
        repository.write("migrations/0001_orders.sql", "CREATE TABLE orders (id bigint PRIMARY KEY);\n");
        let changelog =
            std::fs::read_to_string(repository.path("release/CHANGELOG.md")).expect("a changelog");
        let entry = changelog.find("## 1.2.0").expect("it")..changelog.find("## 1.1.0").expect("it");
        repository.write(
            "release/CHANGELOG.md",
            &format!("{}{}", &changelog[..entry.start], &changelog[entry.end..]),
        );
        let deployed = repository.commit("linus@shop.example", "1.1.0");

        repository.write("release/CHANGELOG.md", &changelog);
        for path in ["api/orders.rs", "web/pay.ts", "infra/production/main.tf"] {
            repository.write(path, "changed\n");
        }
        repository.write("migrations/0042_payments.sql", "CREATE TABLE payments (id bigint PRIMARY KEY);\n");
        let commit = repository.commit("linus@shop.example", "1.2.0");

        repository.git(&["switch", "--quiet", "-c", "bad"]);
        repository.write("release/CHANGELOG.md", &changelog.replace("1.1.0", "1.1.1"));
        repository.write("migrations/0043_gone.sql", "DROP TABLE orders;\n");
        repository.write("config/production/shop.toml", "threads = 1\n");
        std::fs::remove_file(repository.path("infra/production/main.tf")).expect("a file");
        repository.write("infra/production/other.txt", "x\n");
        repository.write(".env", "PASSWORD=\n");
        let bad = repository.commit("linus@shop.example", "bad");
        repository.git(&["switch", "--quiet", "main"]);

        let released = Self { repository, deployed, commit, bad };
        released.evidence(home, backup_key, drill_key);
        released.decisions(home);
        released
    }

    /// What a pipeline has made before the gates run.
    fn evidence(&self, home: &Path, backup_key: &Path, drill_key: &Path) {
        let write = |name: &str, text: String| self.repository.write(name, &text);
        let time = |hours: i64| (Timestamp::now() - SignedDuration::from_hours(hours)).to_string();
        let builder = SigningKey::generate().expect("randomness");
        let keys = self.repository.path("keys");
        std::fs::create_dir_all(&keys).expect("a folder");
        builder.verifying_key().write_file(&keys.join("builder.pub.pem")).expect("a key");
        std::fs::copy(backup_key, keys.join("backup.pub.pem")).expect("a key");
        std::fs::copy(drill_key, keys.join("drill.pub.pem")).expect("a key");
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": "shop", "digest": { "sha256": DIGEST.trim_start_matches("sha256:") } }],
            "predicateType": "https://slsa.dev/verification_summary/v1",
            "predicate": {
                "verifier": { "id": "https://ci.example/verifier" },
                "timeVerified": time(1),
                "verificationResult": "PASSED",
                "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
            },
        });
        let envelope = Envelope::sign_statement(statement.to_string().as_bytes(), &builder).to_json();
        write("evidence/vsa/image.json", String::from_utf8(envelope).expect("JSON"));
        // Scanners that are not here: their reports by hand, in their own shape.
        let audit = json!({
            "database": { "advisory-count": 900, "last-updated": time(3) },
            "lockfile": { "dependency-count": 240 },
            "vulnerabilities": { "found": false, "count": 0, "list": [] },
            "settings": { "ignore": [] },
        });
        write("evidence/audit.json", audit.to_string());
        let trivy = json!({
            "SchemaVersion": 2,
            "ArtifactName": "shop:1.2.0",
            "Metadata": { "RepoDigests": [format!("registry.example/shop@{DIGEST}")] },
            "Results": [{ "Class": "os-pkgs", "Packages": [{ "Name": "libc6" }] }],
        });
        write("evidence/trivy.json", trivy.to_string());
        write(
            "evidence/trivy-version.json",
            json!({ "VulnerabilityDB": { "UpdatedAt": time(3) } }).to_string(),
        );
        for (name, factor) in [("deployed", 1.0), ("candidate", 1.01)] {
            let samples: Vec<f64> = (0..40).map(|n| factor * (1.0 + 0.001 * f64::from(n % 7))).collect();
            let file = json!({ "environment": { "cpu": "one and the same" }, "samples": samples });
            write(&format!("evidence/benchmark-{name}.json"), file.to_string());
        }
        let request = std::fs::read_to_string(self.repository.path("release/change-request.md")).expect("it");
        let request = request.replace("0123456789abcdef0123456789abcdef01234567", &self.commit);
        std::fs::write(home.join("change-request.md"), request).expect("a file");
    }

    /// Everybody approves, each with the command that people use; one of them opens the window.
    fn decisions(&self, home: &Path) {
        std::fs::create_dir(home.join("approvals")).expect("a folder");
        std::fs::create_dir(home.join("nobody")).expect("a folder");
        for (name, role) in PEOPLE {
            let mut words =
                vec!["approve", "--commit", &self.commit, "--subject", "shop", "--approver", name];
            words.extend(["--reason", "it was tried on stage", "--for", "1d", "--environment", "production"]);
            let (key, output) =
                (home.join(format!("{name}.pem")), home.join(format!("approvals/{name}.json")));
            let (key, output) = (key.display().to_string(), output.display().to_string());
            words.extend(["--key", &key, "--output", &output]);
            if role == "on-call" {
                words.extend(["--incident", "INC-7"]);
            }
            super::succeed(Command::new(super::program("ops-gate")).args(words).current_dir(home));
        }
    }
}

/// The list of those who may approve, with keys that are made as the help says.
fn approvers(home: &Path, people: &[(&str, &str)]) -> String {
    let mut list = "schema = \"ops-gates/approvers/v1\"\n".to_owned();
    for (name, role) in people {
        let key = home.join(format!("{name}.pem"));
        let openssl = |words: &[&str]| super::succeed(Command::new("openssl").args(words).arg(&key));
        openssl(&["genpkey", "-algorithm", "ed25519", "-out"]);
        let public = openssl(&["pkey", "-pubout", "-in"]);
        let email = name.to_lowercase();
        list.push_str(&format!(
            "[[approver]]\nname = \"{name}\"\nemails = [\"{email}@shop.example\"]\nroles = [\"{role}\"]\nkey = '''\n{public}'''\n"
        ));
    }
    std::fs::write(home.join("approvers.toml"), &list).expect("a file");
    list
}

/// Writes a program that can be run.
pub(crate) fn program(path: &PathBuf, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
}

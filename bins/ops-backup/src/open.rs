//! From settings to what the library works with: the repository, the connection, the user, the programs of PostgreSQL.

use crate::failed::failed;
use crate::settings::BackupSettings;
use crate::{key, store};
use ops_backup::{ErrorKind, Key, Repository};
use ops_cli::{Exit, Failure};
use ops_core::connection::ConnectionSettings;
use ops_secrets::Profile;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The place of the repository, absolute where it is a folder: PostgreSQL calls us from another directory.
pub(crate) fn place(settings: &BackupSettings) -> Result<String, Failure> {
    let repo = settings.repo.as_str();
    if repo.is_empty() {
        let failure = Failure::new(Exit::Config, "no repository is named");
        return Err(
            failure.hint("give --repo PLACE, or set OPS_BACKUP_REPO, or `repo` under [backup] in ops.toml")
        );
    }
    if repo.contains("://") {
        return Ok(repo.to_owned());
    }
    let path = std::path::absolute(repo)
        .map_err(|error| Failure::new(Exit::Config, format!("repository {repo}: {error}")))?;
    Ok(path.display().to_string())
}

/// Opens the repository.
pub(crate) async fn repository(settings: &BackupSettings) -> Result<Repository, Failure> {
    let (key, place) = (key::given(settings)?, place(settings)?);
    Repository::open(store::open(&place, settings)?, key.as_ref()).await.map_err(|error| match error.kind() {
        // The library knows the store by its type only.
        ErrorKind::NotARepository => {
            Failure::new(Exit::Config, format!("{place} holds no repository: repository.json is missing"))
                .hint("`ops-backup --repo PLACE init` creates one")
        }
        _ => failed(&error),
    })
}

/// Opens the repository to write into it.
///
/// Files that root writes into the folder of another user could not be used by that user: PostgreSQL's archiver would
/// fail from then on.
pub(crate) async fn writable_repository(settings: &BackupSettings) -> Result<Repository, Failure> {
    let place = place(settings)?;
    let owner = std::fs::metadata(&place).map_or(0, |meta| std::os::unix::fs::MetadataExt::uid(&meta));
    if rustix::process::geteuid().is_root() && owner != 0 {
        let failure =
            Failure::new(Exit::Config, format!("the repository {place} belongs to another user than root"));
        return Err(failure.hint(format!(
            "run this as its owner: setpriv --reuid {owner} --clear-groups ops-backup …, or sudo -u"
        )));
    }
    repository(settings).await
}

/// Creates the repository, or opens the one that is there; the flag says which.
pub(crate) async fn create(
    settings: &BackupSettings,
    key: Option<&Key>,
) -> Result<(Repository, bool), Failure> {
    let store = store::open(&place(settings)?, settings)?;
    match Repository::open(Arc::clone(&store), key).await {
        Ok(repository) => return Ok((repository, true)),
        Err(error) if error.kind() == ErrorKind::NotARepository => {}
        Err(error) => return Err(failed(&error)),
    }
    let created = Repository::open_or_create(store, key).await;
    created.map(|repository| (repository, false)).map_err(|error| failed(&error))
}

/// The server to back up.
pub(crate) fn server(settings: &BackupSettings, trace_id: &str) -> Result<ConnectionSettings, Failure> {
    if settings.postgres.is_empty() {
        let failure = Failure::new(Exit::Config, "no server is named");
        return Err(
            failure.hint("give --postgres 'host=/run/postgresql user=postgres', or set OPS_BACKUP_POSTGRES")
        );
    }
    connection(&settings.postgres, settings, trace_id)
}

/// The primary of the server, where one is named.
pub(crate) fn primary(
    settings: &BackupSettings,
    trace_id: &str,
) -> Result<Option<ConnectionSettings>, Failure> {
    if settings.primary.is_empty() {
        return Ok(None);
    }
    connection(&settings.primary, settings, trace_id).map(Some)
}

fn connection(text: &str, settings: &BackupSettings, trace_id: &str) -> Result<ConnectionSettings, Failure> {
    let parsed =
        ConnectionSettings::parse(text).map_err(|error| Failure::from_error(Exit::Config, &error))?;
    let parsed = parsed.with_application("ops-backup", Some(trace_id));
    if settings.password.is_empty() {
        return Ok(parsed);
    }
    Ok(parsed.with_password(settings.password.expose_secret().as_str().into()))
}

/// The numeric user and group for files and servers, where this process is root; None where it is not.
pub(crate) fn server_user(settings: &BackupSettings) -> Result<Option<(u32, u32)>, Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let name = settings.server_user.as_str();
    let unknown = || {
        Failure::new(Exit::Config, format!("the user {name} does not exist"))
            .hint("PostgreSQL does not run as root: set `server_user` under [backup]")
    };
    let users = std::fs::read_to_string("/etc/passwd").map_err(|_| unknown())?;
    let ids = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        if fields.first() != Some(&name) {
            return None;
        }
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    });
    ids.map(Some).ok_or_else(unknown)
}

/// The folder of PostgreSQL's programs of one major.
pub(crate) fn programs(settings: &BackupSettings, major: u32) -> Result<PathBuf, Failure> {
    if !settings.postgres_bin.is_empty() {
        return Ok(PathBuf::from(&settings.postgres_bin));
    }
    let places = [
        format!("/usr/lib/postgresql/{major}/bin"),
        format!("/usr/pgsql-{major}/bin"),
        format!("/opt/homebrew/opt/postgresql@{major}/bin"),
    ];
    let found = places.iter().map(Path::new).find(|folder| folder.join("postgres").is_file());
    found.map(Path::to_path_buf).ok_or_else(|| {
        let failure = Failure::new(Exit::Config, format!("the programs of PostgreSQL {major} are not found"));
        failure.hint("install that major, or set `postgres_bin` under [backup] to the folder of its programs")
    })
}

/// What a restored server is given of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Give {
    Segments,
    /// Also the segment that is not complete.
    Tail,
}

/// The command with which a restored server fetches its WAL: ourselves, with the same settings and no secret in it.
pub(crate) fn restore_command(
    settings: &BackupSettings,
    config: Option<&Path>,
    profile: Option<Profile>,
    give: Give,
) -> Result<String, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Exit::Bug, format!("this program cannot find itself: {error}")))?;
    let mut words = vec![quoted(&program.display().to_string())];
    if let Some(config) = config {
        words.extend(["--config".into(), quoted(&config.display().to_string())]);
    }
    if let Some(profile) = profile {
        words.extend(["--profile".into(), profile.to_string()]);
    }
    words.extend(["--repo".into(), quoted(&place(settings)?)]);
    if !settings.key_file.is_empty() {
        words.extend(["--key-file".into(), quoted(&key::file(settings)?.display().to_string())]);
    }
    words.push("--log-format json wal fetch".into());
    words.extend((give == Give::Tail).then(|| "--tail".into()));
    words.push("%f %p".into());
    Ok(words.join(" "))
}

/// A word for a shell inside `restore_command`, where a percent sign is doubled (PostgreSQL's manual, section 20.5.5).
fn quoted(word: &str) -> String {
    let plain =
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-:".contains(&byte));
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''").replace('%', "%%")) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_the_shell_and_the_server() {
        for (word, expected) in [
            ("/a/b-1.2", "/a/b-1.2"),
            ("", "''"),
            ("a b", "'a b'"),
            ("50%", "'50%%'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(word), expected, "{word}");
        }
    }
}

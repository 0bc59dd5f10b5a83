//! The settings, and the defaults of all of them.

use ops_cli::LogSettings;
use ops_secrets::Secret;
use serde::Deserialize;

/// The defaults of every setting. An empty text, and a zero where a number limits or counts, means: not set.
pub(crate) const DEFAULTS: &str = r#"
[backup]
repo = ""
key_file = ""
passphrase = ""
postgres = ""
primary = ""
password = ""
postgres_bin = ""
workers = 2
compression = "zstd:3"
read_limit_mb = 0
upload_limit_mb = 0
download_limit_mb = 0
archive_timeout_seconds = 60
wal_socket_dir = ""
server_user = "postgres"
signing_key = ""
evidence_dir = ""

[backup.retention]
keep_last = 0
keep_within = ""
keep_daily = 0
keep_weekly = 0
keep_monthly = 0
keep_yearly = 0
wal = "all"
grace = "24h"
resumable = "7d"

[backup.s3]
endpoint = ""
region = "us-east-1"
access_key_id = ""
secret_access_key = ""
session_token = ""
path_style = true
allow_http = false
encryption = ""
kms_key_id = ""
bucket_key = false
checksum = ""
storage_class = ""

[backup.gcs]
service_account_key = ""
bearer_token = ""
endpoint = ""
allow_http = false

[backup.azure]
account = ""
access_key = ""
sas = ""
tenant_id = ""
client_id = ""
client_secret = ""
endpoint = ""
allow_http = false
"#;

/// Everything that `ops-backup` can be told.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    /// The table `[backup]`.
    pub(crate) backup: BackupSettings,
    /// The table `[log]`; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) log: LogSettings,
}

/// The table `[backup]`.
#[derive(Debug, Deserialize)]
pub(crate) struct BackupSettings {
    /// A folder, or `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`.
    pub(crate) repo: String,
    /// The file with the key of an encrypted repository: 32 random bytes.
    pub(crate) key_file: String,
    /// The passphrase of an encrypted repository, instead of a key file.
    pub(crate) passphrase: Secret,
    /// The server to back up, as a libpq URL or `key=value` pairs.
    pub(crate) postgres: String,
    /// The primary of the server, where that is a standby; it is asked to end its WAL segment.
    pub(crate) primary: String,
    /// The password for both.
    pub(crate) password: Secret,
    /// The folder of PostgreSQL's programs; empty finds the installed one of the right major.
    pub(crate) postgres_bin: String,
    /// Readers that copy, hash and compress at once.
    pub(crate) workers: usize,
    /// `zstd:LEVEL`, `lz4` or `none`.
    pub(crate) compression: String,
    /// The most that a backup reads from its source, in megabytes a second.
    pub(crate) read_limit_mb: f64,
    /// The most that goes to the repository, in megabytes a second.
    pub(crate) upload_limit_mb: f64,
    /// The most that comes from the repository, in megabytes a second.
    pub(crate) download_limit_mb: f64,
    /// How long a backup waits for its last WAL segment to be archived.
    pub(crate) archive_timeout_seconds: u64,
    /// The directory of the socket of `wal serve`, which only its user may write; empty finds one.
    pub(crate) wal_socket_dir: String,
    /// When run as root: who owns restored files and runs rehearsal servers.
    pub(crate) server_user: String,
    /// The private key that signs rehearsal records.
    pub(crate) signing_key: String,
    /// Where rehearsal records are written.
    pub(crate) evidence_dir: String,
    /// Which backups `expire` keeps.
    pub(crate) retention: RetentionSettings,
    /// How to reach an S3 server.
    pub(crate) s3: S3Settings,
    /// How to reach Google Cloud Storage.
    pub(crate) gcs: GcsSettings,
    /// How to reach Azure Blob Storage.
    pub(crate) azure: AzureSettings,
}

/// The table `[backup.retention]`.
#[derive(Debug, Deserialize)]
pub(crate) struct RetentionSettings {
    /// So many of the newest.
    pub(crate) keep_last: u32,
    /// All that are not older, for example `7d`.
    pub(crate) keep_within: String,
    /// The last of so many days.
    pub(crate) keep_daily: u32,
    /// The last of so many weeks.
    pub(crate) keep_weekly: u32,
    /// The last of so many months.
    pub(crate) keep_monthly: u32,
    /// The last of so many years.
    pub(crate) keep_yearly: u32,
    /// From which backups on the WAL is kept: `all`, a number of backups, or an age.
    pub(crate) wal: String,
    /// How long what is given up stays before it is removed.
    pub(crate) grace: String,
    /// How long what an aborted backup has stored stays for the next one.
    pub(crate) resumable: String,
}

/// The table `[backup.s3]`.
#[derive(Debug, Deserialize)]
pub(crate) struct S3Settings {
    /// The URL of the server; empty for Amazon's own.
    pub(crate) endpoint: String,
    /// The region.
    pub(crate) region: String,
    /// The access key's id; empty asks for the machine's own role.
    pub(crate) access_key_id: String,
    /// The access key's secret.
    pub(crate) secret_access_key: Secret,
    /// The token of a temporary key.
    pub(crate) session_token: Secret,
    /// Put the bucket into the path and not into the host name.
    pub(crate) path_style: bool,
    /// Allow `http://` endpoints.
    pub(crate) allow_http: bool,
    /// Encryption by the server: `sse-s3` or `sse-kms`; empty as the bucket says.
    pub(crate) encryption: String,
    /// The key of `sse-kms`.
    pub(crate) kms_key_id: String,
    /// Whether a key of the bucket saves requests to the key service.
    pub(crate) bucket_key: bool,
    /// The checksum of uploads: `sha256` or `crc64nvme`; empty for none.
    pub(crate) checksum: String,
    /// The storage class of packs.
    pub(crate) storage_class: String,
}

/// The table `[backup.gcs]`.
#[derive(Debug, Deserialize)]
pub(crate) struct GcsSettings {
    /// The JSON text of a service account's key; empty asks for the machine's own account.
    pub(crate) service_account_key: Secret,
    /// An access token instead.
    pub(crate) bearer_token: Secret,
    /// Another server than Google's.
    pub(crate) endpoint: String,
    /// Allow `http://` endpoints.
    pub(crate) allow_http: bool,
}

/// The table `[backup.azure]`.
#[derive(Debug, Deserialize)]
pub(crate) struct AzureSettings {
    /// The storage account.
    pub(crate) account: String,
    /// Its key; without any credentials the machine's managed identity is asked for.
    pub(crate) access_key: Secret,
    /// A shared access signature instead.
    pub(crate) sas: Secret,
    /// The directory of a service principal.
    pub(crate) tenant_id: String,
    /// The application of a service principal.
    pub(crate) client_id: String,
    /// The secret of a service principal.
    pub(crate) client_secret: Secret,
    /// Another server than Azure's.
    pub(crate) endpoint: String,
    /// Allow `http://` endpoints.
    pub(crate) allow_http: bool,
}

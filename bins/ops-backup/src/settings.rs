//! The settings, and the defaults of all of them.

use ops_cli::{LogSettings, SourceSettings};
use ops_secrets::Secret;
use serde::Deserialize;

/// Every setting with its default and, above it, what it is for: `ops-secrets example` shows the same words. An empty text, and a
/// zero where a number limits or counts, means: not set.
pub(crate) const DEFAULTS: &str = r#"
[backup]
# The repository: a folder, or `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`.
repo = ""
# The file with the key of an encrypted repository: 32 random bytes.
key_file = ""
# The passphrase of an encrypted repository, instead of a key file.
passphrase = ""
# The server to back up, as a libpq URL or `key=value` pairs, or a reference to one.
postgres = ""
# The primary of the server, where that is a standby; it is asked to end its WAL segment.
primary = ""
# The password for both, where the URLs have none.
password = ""
# The folder of PostgreSQL's programs; empty finds the installed one of the right major.
postgres_bin = ""
# How many readers copy, hash and compress at once.
workers = 2
# How blocks are compressed: `zstd:LEVEL`, `lz4` or `none`.
compression = "zstd:3"
# The most that a backup reads from its source, in megabytes a second; 0 is no limit.
read_limit_mb = 0
# The most that goes to the repository, in megabytes a second; 0 is no limit.
upload_limit_mb = 0
# The most that comes from the repository, in megabytes a second; 0 is no limit.
download_limit_mb = 0
# How long a backup waits for its last WAL segment to be archived, in seconds.
archive_timeout_seconds = 60
# The directory of the socket of `wal serve`, which only its user may write; empty finds one.
wal_socket_dir = ""
# When run as root: who owns restored files and runs rehearsal servers.
server_user = "postgres"
# The private key that signs rehearsal records.
signing_key = ""
# Where rehearsal records are written.
evidence_dir = ""

[backup.retention]
# `expire` keeps so many of the newest backups; 0 leaves this rule out, and so with the other numbers.
keep_last = 0
# It keeps all backups that are not older, for example `7d`.
keep_within = ""
# It keeps the last backup of each of so many days.
keep_daily = 0
# It keeps the last backup of each of so many weeks.
keep_weekly = 0
# It keeps the last backup of each of so many months.
keep_monthly = 0
# It keeps the last backup of each of so many years.
keep_yearly = 0
# From which backups on the WAL is kept: `all`, a number of backups, or an age.
wal = "all"
# How long what is given up stays before it is removed.
grace = "24h"
# How long what an aborted backup has stored stays for the next one.
resumable = "7d"

[backup.s3]
# The URL of the server; empty for Amazon's own.
endpoint = ""
# The region of the bucket.
region = "us-east-1"
# The id of the access key; empty asks for the machine's own role.
access_key_id = ""
# The secret of the access key.
secret_access_key = ""
# The token of a temporary key.
session_token = ""
# Put the bucket into the path of the URL and not into the host name, as most servers other than Amazon's want it.
path_style = true
# Allow `http://` endpoints.
allow_http = false
# Encryption by the server: `sse-s3` or `sse-kms`; empty as the bucket says.
encryption = ""
# The key of `sse-kms`.
kms_key_id = ""
# Whether a key of the bucket saves requests to the key service.
bucket_key = false
# The checksum of uploads: `sha256` or `crc64nvme`; empty for none.
checksum = ""
# The storage class of packs.
storage_class = ""

[backup.gcs]
# The JSON text of a service account's key; empty asks for the machine's own account.
service_account_key = ""
# An access token instead of a service account's key.
bearer_token = ""
# Another server than Google's.
endpoint = ""
# Allow `http://` endpoints.
allow_http = false

[backup.azure]
# The storage account.
account = ""
# The key of the account; without any credentials the machine's managed identity is asked for.
access_key = ""
# A shared access signature instead of the account's key.
sas = ""
# The directory of a service principal.
tenant_id = ""
# The application of a service principal.
client_id = ""
# The secret of a service principal.
client_secret = ""
# Another server than Azure's.
endpoint = ""
# Allow `http://` endpoints.
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
    /// The table `[secrets]`, as far as all binaries share it; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) secrets: SourceSettings,
}

/// The table `[backup]`.
#[derive(Debug, Deserialize)]
pub(crate) struct BackupSettings {
    pub(crate) repo: String,
    pub(crate) key_file: String,
    pub(crate) passphrase: Secret,
    pub(crate) postgres: String,
    pub(crate) primary: String,
    pub(crate) password: Secret,
    pub(crate) postgres_bin: String,
    pub(crate) workers: usize,
    pub(crate) compression: String,
    pub(crate) read_limit_mb: f64,
    pub(crate) upload_limit_mb: f64,
    pub(crate) download_limit_mb: f64,
    pub(crate) archive_timeout_seconds: u64,
    pub(crate) wal_socket_dir: String,
    pub(crate) server_user: String,
    pub(crate) signing_key: String,
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
    pub(crate) keep_last: u32,
    pub(crate) keep_within: String,
    pub(crate) keep_daily: u32,
    pub(crate) keep_weekly: u32,
    pub(crate) keep_monthly: u32,
    pub(crate) keep_yearly: u32,
    pub(crate) wal: String,
    pub(crate) grace: String,
    pub(crate) resumable: String,
}

/// The table `[backup.s3]`.
#[derive(Debug, Deserialize)]
pub(crate) struct S3Settings {
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: Secret,
    pub(crate) session_token: Secret,
    pub(crate) path_style: bool,
    pub(crate) allow_http: bool,
    pub(crate) encryption: String,
    pub(crate) kms_key_id: String,
    pub(crate) bucket_key: bool,
    pub(crate) checksum: String,
    pub(crate) storage_class: String,
}

/// The table `[backup.gcs]`.
#[derive(Debug, Deserialize)]
pub(crate) struct GcsSettings {
    pub(crate) service_account_key: Secret,
    pub(crate) bearer_token: Secret,
    pub(crate) endpoint: String,
    pub(crate) allow_http: bool,
}

/// The table `[backup.azure]`.
#[derive(Debug, Deserialize)]
pub(crate) struct AzureSettings {
    pub(crate) account: String,
    pub(crate) access_key: Secret,
    pub(crate) sas: Secret,
    pub(crate) tenant_id: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) endpoint: String,
    pub(crate) allow_http: bool,
}

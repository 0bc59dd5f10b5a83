//! From settings to the store of the repository.

use crate::failed::failed;
use crate::parse;
use crate::settings::{AzureSettings, BackupSettings, GcsSettings, S3Settings};
use ops_backup::location::{
    self, AzureCredentials, AzureOptions, GcsCredentials, GcsOptions, LocationOptions, S3Checksum,
    S3Credentials, S3Encryption, S3Options, S3StorageClass, Throttle,
};
use ops_cli::{Exit, Failure};
use ops_secrets::Secret;
use std::sync::Arc;

/// Opens the store at `place`.
pub(crate) fn open(
    place: &str,
    settings: &BackupSettings,
) -> Result<Arc<dyn object_store::ObjectStore>, Failure> {
    let mut options = LocationOptions::default();
    options.throttle = Throttle {
        upload: parse::rate("upload_limit_mb", settings.upload_limit_mb)?,
        download: parse::rate("download_limit_mb", settings.download_limit_mb)?,
    };
    // A mistake in the table of another store is none.
    match place.split_once("://").map(|(scheme, _)| scheme) {
        Some("s3") => options.s3 = s3(&settings.s3)?,
        Some("gs") => options.gcs = gcs(&settings.gcs)?,
        Some("az") => options.azure = azure(&settings.azure)?,
        _ => {}
    }
    location::open(place, &options).map_err(|error| failed(&error))
}

fn s3(settings: &S3Settings) -> Result<S3Options, Failure> {
    let credentials = text(&settings.access_key_id).map(|access_key_id| S3Credentials {
        access_key_id,
        secret_access_key: settings.secret_access_key.expose_secret().as_str().into(),
        session_token: secret(&settings.session_token),
    });
    let encryption = match settings.encryption.as_str() {
        "" => None,
        "sse-s3" => Some(S3Encryption::S3),
        "sse-kms" if settings.kms_key_id.is_empty() => {
            return Err(Failure::new(Exit::Config, "`encryption = \"sse-kms\"` needs `kms_key_id`"));
        }
        "sse-kms" => {
            Some(S3Encryption::Kms { key_id: settings.kms_key_id.clone(), bucket_key: settings.bucket_key })
        }
        other => return Err(unknown("encryption", other, "\"sse-s3\" and \"sse-kms\"")),
    };
    let checksum = match settings.checksum.as_str() {
        "" => None,
        "sha256" => Some(S3Checksum::Sha256),
        "crc64nvme" => Some(S3Checksum::Crc64Nvme),
        other => return Err(unknown("checksum", other, "\"sha256\" and \"crc64nvme\"")),
    };
    let storage_class = match settings.storage_class.as_str() {
        "" => None,
        "STANDARD_IA" => Some(S3StorageClass::StandardInfrequentAccess),
        "ONEZONE_IA" => Some(S3StorageClass::OneZoneInfrequentAccess),
        "INTELLIGENT_TIERING" => Some(S3StorageClass::IntelligentTiering),
        "GLACIER_IR" => Some(S3StorageClass::GlacierInstantRetrieval),
        other => {
            let known = "STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING and GLACIER_IR";
            return Err(unknown("storage_class", other, known).hint(
                "the classes that must be thawed first cannot hold backups: a restore would wait for hours",
            ));
        }
    };
    Ok(S3Options {
        endpoint: text(&settings.endpoint),
        region: text(&settings.region),
        credentials,
        virtual_hosted: !settings.path_style,
        allow_http: settings.allow_http,
        encryption,
        checksum,
        storage_class,
    })
}

fn gcs(settings: &GcsSettings) -> Result<GcsOptions, Failure> {
    let credentials = match (secret(&settings.service_account_key), secret(&settings.bearer_token)) {
        (None, None) => None,
        (Some(key), None) => Some(GcsCredentials::ServiceAccountKey(key)),
        (None, Some(token)) => Some(GcsCredentials::BearerToken(token)),
        (Some(_), Some(_)) => {
            let message = "[backup.gcs] has both `service_account_key` and `bearer_token`";
            return Err(Failure::new(Exit::Config, message).hint("keep one of them"));
        }
    };
    Ok(GcsOptions { credentials, endpoint: text(&settings.endpoint), allow_http: settings.allow_http })
}

fn azure(settings: &AzureSettings) -> Result<AzureOptions, Failure> {
    let principal = [&settings.tenant_id, &settings.client_id];
    let principal = match secret(&settings.client_secret) {
        None => None,
        Some(_) if principal.iter().any(|text| text.is_empty()) => {
            let message = "`client_secret` under [backup.azure] needs `tenant_id` and `client_id`";
            return Err(Failure::new(Exit::Config, message));
        }
        Some(secret) => Some(AzureCredentials::ClientSecret {
            tenant_id: settings.tenant_id.clone(),
            client_id: settings.client_id.clone(),
            secret,
        }),
    };
    let key = secret(&settings.access_key).map(AzureCredentials::AccessKey);
    let signature = secret(&settings.sas).map(AzureCredentials::SharedAccessSignature);
    let mut given: Vec<AzureCredentials> = [key, signature, principal].into_iter().flatten().collect();
    if given.len() > 1 {
        let message = "[backup.azure] has several of `access_key`, `sas` and `client_secret`";
        return Err(Failure::new(Exit::Config, message).hint("keep one of them"));
    }
    Ok(AzureOptions {
        account: settings.account.clone(),
        credentials: given.pop(),
        endpoint: text(&settings.endpoint),
        allow_http: settings.allow_http,
    })
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn secret<T: From<String>>(secret: &Secret) -> Option<T> {
    if secret.is_empty() { None } else { Some(T::from(secret.expose_secret().to_owned())) }
}

fn unknown(name: &str, given: &str, known: &str) -> Failure {
    Failure::new(Exit::Config, format!("`{name}` cannot be {given:?}: known are {known}"))
}

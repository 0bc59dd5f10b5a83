//! The two services: what is asked, and what is understood of the answer. No words of theirs are passed on.

use crate::error::ErrorKind;
use crate::reference::{Document, FetchError, Reference, Scheme};
use serde_json::{Value, json};

/// A request to a service.
pub(super) struct Question {
    /// The name of the service in addresses and signatures.
    pub(super) service: &'static str,
    /// The action, as the header `X-Amz-Target` takes it.
    pub(super) target: &'static str,
    pub(super) body: String,
    /// The region that an ARN names.
    pub(super) region: Option<String>,
}

/// What has to be asked for a reference.
pub(super) fn question(reference: &Reference) -> Question {
    let name = reference.address();
    let region = name.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2)).map(str::to_owned);
    let version = reference.version();
    if reference.scheme() == Scheme::AwsParameterStore {
        // `name:3` is the version of a parameter, or a label of it.
        let name = version.map_or_else(|| name.to_owned(), |version| format!("{name}:{version}"));
        let body = json!({ "Name": name, "WithDecryption": true }).to_string();
        return Question { service: "ssm", target: "AmazonSSM.GetParameter", body, region };
    }
    // A stage is written in capitals, `AWSPREVIOUS`; what else is asked for is the id of a version.
    let body = match version {
        None => json!({ "SecretId": name }),
        Some(stage) if stage.starts_with("AWS") => json!({ "SecretId": name, "VersionStage": stage }),
        Some(id) => json!({ "SecretId": name, "VersionId": id }),
    };
    let target = "secretsmanager.GetSecretValue";
    Question { service: "secretsmanager", target, body: body.to_string(), region }
}

/// What the answer says.
pub(super) fn answer(scheme: Scheme, status: u16, bytes: &[u8]) -> Result<Document, FetchError> {
    let body: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    if status != 200 {
        return Err(refused(status, body["__type"].as_str().unwrap_or_default()));
    }
    let odd = |why: &str| FetchError::new(ErrorKind::UnexpectedAnswer, why);
    if scheme == Scheme::AwsParameterStore {
        let parameter = &body["Parameter"];
        let value = parameter["Value"].as_str().ok_or_else(|| odd("the answer has no parameter"))?;
        let document = Document::text(value);
        return Ok(match parameter["Version"].as_u64() {
            Some(version) => document.note(format!("version {version}")),
            None => document,
        });
    }
    match (body["SecretString"].as_str(), body["SecretBinary"].as_str()) {
        (Some(text), _) => {
            let stage =
                body["VersionStages"].as_array().and_then(|stages| stages.first()).and_then(Value::as_str);
            let document = Document::text(text);
            Ok(match stage {
                Some(stage) => document.note(format!("version {stage}")),
                None => document,
            })
        }
        (None, Some(_)) => {
            Err(FetchError::new(ErrorKind::InvalidValue, "the secret is binary, expected text"))
        }
        (None, None) => Err(odd("the answer has no secret")),
    }
}

/// The kind of a refusal, by the name of the exception, which may carry a namespace before `#`.
fn refused(status: u16, exception: &str) -> FetchError {
    let name = exception.rsplit('#').next().unwrap_or_default();
    let (kind, why) = match name {
        "ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound" => {
            (ErrorKind::NotFound, "there is no such secret, or not in this version or region")
        }
        "InvalidRequestException" => (ErrorKind::NotFound, "the secret is marked for deletion"),
        "AccessDeniedException" | "AccessDenied" => {
            (ErrorKind::Forbidden, "the policy of these credentials does not allow it")
        }
        "DecryptionFailure" | "InvalidKeyId" => {
            (ErrorKind::Forbidden, "these credentials may not use the key that encrypts it")
        }
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "IncompleteSignature"
        | "MissingAuthenticationTokenException"
        | "SignatureDoesNotMatch" => (
            ErrorKind::Forbidden,
            "the credentials are not accepted: unknown, expired, or the clock is wrong",
        ),
        "ThrottlingException" | "TooManyRequestsException" => {
            (ErrorKind::Unreachable, "the service asks for fewer requests")
        }
        _ if status >= 500 => (ErrorKind::Unreachable, "the service cannot serve now"),
        _ if status == 403 => (ErrorKind::Forbidden, "the service refuses it"),
        _ => {
            let why = format!("the service refuses the request ({status})");
            return FetchError::new(ErrorKind::UnexpectedAnswer, why);
        }
    };
    FetchError::new(kind, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Question {
        question(&Reference::parse(text).unwrap().unwrap())
    }

    #[test]
    fn what_is_asked_for_a_reference() {
        for (text, service, body) in [
            ("aws-sm://prod/db", "secretsmanager", r#"{"SecretId":"prod/db"}"#),
            (
                "aws-sm://prod/db?version=AWSPREVIOUS#user",
                "secretsmanager",
                r#"{"SecretId":"prod/db","VersionStage":"AWSPREVIOUS"}"#,
            ),
            ("aws-sm://db?version=1-2-3", "secretsmanager", r#"{"SecretId":"db","VersionId":"1-2-3"}"#),
            ("aws-ssm:///prod/db", "ssm", r#"{"Name":"/prod/db","WithDecryption":true}"#),
            ("aws-ssm:///prod/db?version=3", "ssm", r#"{"Name":"/prod/db:3","WithDecryption":true}"#),
        ] {
            let question = ask(text);
            assert_eq!((question.service, question.body.as_str(), question.region), (service, body, None));
        }
        let arn = ask("aws-sm://arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf");
        assert_eq!(arn.region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn no_words_of_a_service_are_passed_on() {
        for (status, body, kind) in [
            (400, r#"{"__type":"ResourceNotFoundException","message":"hunter2"}"#, ErrorKind::NotFound),
            (400, r#"{"__type":"com.amazonaws.ssm#ParameterNotFound"}"#, ErrorKind::NotFound),
            (400, r#"{"__type":"AccessDeniedException","Message":"hunter2"}"#, ErrorKind::Forbidden),
            (403, "hunter2", ErrorKind::Forbidden),
            (400, r#"{"__type":"ExpiredTokenException"}"#, ErrorKind::Forbidden),
            (400, r#"{"__type":"ThrottlingException"}"#, ErrorKind::Unreachable),
            (503, "hunter2", ErrorKind::Unreachable),
            (400, r#"{"__type":"hunter2"}"#, ErrorKind::UnexpectedAnswer),
            (200, "hunter2", ErrorKind::UnexpectedAnswer),
            (200, r#"{"SecretBinary":"aHVudGVyMg=="}"#, ErrorKind::InvalidValue),
        ] {
            let error = answer(Scheme::AwsSecretsManager, status, body.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), kind, "{body}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}

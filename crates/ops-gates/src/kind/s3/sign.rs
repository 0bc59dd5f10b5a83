//! Signatures of requests (AWS documentation, "Signature Version 4").

use aws_lc_rs::hmac;
use jiff::Timestamp;
use reqwest::{Method, Url};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// What signs a request.
pub(super) struct Credentials {
    pub(super) region: String,
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) session_token: Option<String>,
}

/// The headers that a request needs beside those of HTTP itself.
pub(super) fn sign(
    credentials: &Credentials,
    method: &Method,
    url: &Url,
    body: &[u8],
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let (day, _) = time.split_at(8);
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let mut headers =
        vec![("host", host), ("x-amz-content-sha256", sha256_hex(body)), ("x-amz-date", time.clone())];
    headers.extend(credentials.session_token.clone().map(|token| ("x-amz-security-token", token)));
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let path: String = url
        .path()
        .split('/')
        .map(|part| encoded(&super::super::net::decoded(part)))
        .collect::<Vec<_>>()
        .join("/");
    let mut query: Vec<&str> =
        url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let canonical = format!("{method}\n{path}\n{}\n{lines}\n{names}\n{}", query.join("&"), sha256_hex(body));
    let scope = format!("{day}/{}/s3/aws4_request", credentials.region);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let key = [day, &credentials.region, "s3", "aws4_request"]
        .iter()
        .fold(format!("AWS4{}", credentials.secret_key).into_bytes(), |key, part| mac(&key, part.as_bytes()));
    let signature = hex(&mac(&key, text.as_bytes()));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key
    );
    // HTTP sets the host itself, to the same.
    headers.remove(0);
    headers.push(("authorization", authorization));
    headers
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Percent-encoding as the signature wants it: everything but the unreserved characters of RFC 3986.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_documentation_is_signed_alike() {
        // "Example: GET Bucket (List Objects)" and "GET Bucket Lifecycle" of the chapter on the Authorization header.
        let credentials = Credentials {
            region: "us-east-1".to_owned(),
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        };
        let now: Timestamp = "2013-05-24T00:00:00Z".parse().expect("a time");
        for (query, signature) in [
            ("lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ] {
            let url =
                Url::parse(&format!("https://examplebucket.s3.amazonaws.com/?{query}")).expect("an address");
            let headers = sign(&credentials, &Method::GET, &url, b"", now);
            let authorization = &headers.last().expect("headers").1;
            assert!(authorization.ends_with(signature), "{authorization}");
        }
    }
}

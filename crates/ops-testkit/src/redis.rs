//! A disposable Redis server.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, ErrorKind};
use crate::process::{free_port, percent_encode, random_hex};
use crate::server::{self, Folder};
use crate::supervise::Supervised;
use crate::tools::{find_program, public_copy};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running Redis server, with a password, on 127.0.0.1 and on a unix socket in a private directory.
///
/// Nothing is written to disk unless a setting asks for it.
#[derive(Debug)]
pub struct Redis {
    // Declared, and so dropped, before the folder it runs in.
    process: Supervised,
    folder: Folder,
    program: PathBuf,
    port: u16,
    password: String,
    settings: Vec<(String, String)>,
}

/// A Redis server to be started.
#[derive(Debug, Clone, Default)]
pub struct RedisBuilder {
    settings: Vec<(String, String)>,
}

impl RedisBuilder {
    /// Sets a directive of `redis.conf`, for example `appendonly` to `yes`.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// [`ErrorKind::NotInstalled`] without `redis-server`, [`ErrorKind::NotReady`] when it does not come up.
    pub fn start(self) -> Result<Redis, Error> {
        let program = public_copy(&find_program("redis-server", "redis/bin")?)?;
        let folder = Folder::create()?;
        let password = format!("re%dis '{}' \"quoted\"", random_hex()?);
        let (process, port) = launch(&folder, &program, &password, &self.settings, None)?;
        Ok(Redis { process, folder, program, port, password, settings: self.settings })
    }
}

impl Redis {
    /// Starts a server with default settings.
    ///
    /// # Errors
    /// As [`RedisBuilder::start`].
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Describes a server with settings.
    #[must_use]
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the port on 127.0.0.1; it stays for all restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the password: it contains a percent sign, quotes and a space.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Returns a `redis://` URL with the password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", percent_encode(&self.password), self.port)
    }

    /// Returns the directory of its data, which is removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the path of the unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Runs one command and returns its answer: a status, a number or a string (empty where there is none).
    ///
    /// # Errors
    /// [`ErrorKind::Command`] for an error of the server, and for an answer of another kind.
    pub fn command(&self, words: &[&str]) -> Result<String, Error> {
        command(self.port, &self.password, words)
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        server::kill(&mut self.process);
    }

    /// Starts the server again with the same port and data, after an ordinary stop if it still runs.
    ///
    /// # Errors
    /// [`ErrorKind::NotReady`] when it does not come up.
    pub fn restart(&mut self) -> Result<(), Error> {
        server::stop("Redis", &mut self.process, Signal::TERM, PATIENCE)?;
        let (process, _) =
            launch(&self.folder, &self.program, &self.password, &self.settings, Some(self.port))?;
        std::mem::replace(&mut self.process, process).release();
        Ok(())
    }
}

fn launch(
    folder: &Folder,
    program: &Path,
    password: &str,
    settings: &[(String, String)],
    fixed: Option<u16>,
) -> Result<(Supervised, u16), Error> {
    let port = std::cell::Cell::new(0);
    let start = || {
        port.set(fixed.map_or_else(free_port, Ok)?);
        // A file, because everybody on the machine can read a command line.
        let config = folder.write("redis.conf", &config(folder.path(), port.get(), password, settings))?;
        let mut redis = Command::new(program);
        redis.arg(config);
        Ok(redis)
    };
    let probe = || command(port.get(), password, &["PING"]).map(drop);
    let process = server::start("Redis", &folder.supervision("TERM"), PATIENCE, start, probe)?;
    Ok((process, port.get()))
}

fn config(folder: &Path, port: u16, password: &str, settings: &[(String, String)]) -> String {
    let mut config = format!(
        "bind 127.0.0.1\nport {port}\nunixsocket {0}/redis.sock\ndir {0}\nsave \"\"\n",
        folder.display()
    );
    let mut set = |name: &str, value: &str| {
        let value = value.replace('\\', r"\\").replace('"', "\\\"");
        writeln!(config, "{name} \"{value}\"").expect("a String takes any text");
    };
    set("requirepass", password);
    settings.iter().for_each(|(name, value)| set(name, value));
    config
}

/// Logs in and runs one command (RESP2: the redis protocol specification).
fn command(port: u16, password: &str, words: &[&str]) -> Result<String, Error> {
    let server = PathBuf::from(format!("127.0.0.1:{port}"));
    let io = |e| Error::io("talk to Redis at", &server, e);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(io)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    let mut answers = BufReader::new(stream.try_clone().map_err(io)?);
    let mut last = String::new();
    for words in [&["AUTH", password], words] {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            write!(request, "${}\r\n{word}\r\n", word.len()).expect("a String takes any text");
        }
        stream.write_all(request.as_bytes()).map_err(io)?;
        last = answer(&mut answers).map_err(io)??;
    }
    Ok(last)
}

fn answer(stream: &mut BufReader<TcpStream>) -> std::io::Result<Result<String, Error>> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let refuse = |text: &str| Err(Error::new(ErrorKind::Command, format!("Redis answered {text:?}")));
    Ok(match (line.get(..1), line.get(1..).unwrap_or_default()) {
        (Some("+" | ":"), text) => Ok(text.to_owned()),
        (Some("$"), "-1") => Ok(String::new()),
        (Some("$"), length) => match length.parse::<usize>() {
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            Err(_) => refuse(line),
        },
        _ => refuse(line),
    })
}

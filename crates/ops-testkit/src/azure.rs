//! A disposable server that speaks the protocol of Azure Blob Storage: Azurite, Microsoft's own emulator.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::process::{free_port, random_hex, run};
use crate::server::{self, Folder};
use crate::supervise::Supervised;
use crate::tools::{find_program, public_copy, tools_dir};

const PATIENCE: Duration = Duration::from_secs(60);
const ACCOUNT: &str = "testkit";
const CONTAINER: &str = "test-container";

/// Creates a container, with a request signed as the service demands. Node is there wherever Azurite is.
const CREATE_CONTAINER: &str = "\
const [port, account, key, container] = process.argv.slice(1);
const date = new Date().toUTCString(), path = `/${account}/${container}`;
const text = ['PUT', ...Array(11).fill(''), `x-ms-date:${date}`, 'x-ms-version:2021-12-02', `/${account}${path}`,
  'restype:container'].join('\\n');
const hash = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(text).digest('base64');
const headers = { 'x-ms-date': date, 'x-ms-version': '2021-12-02', 'content-length': 0,
  authorization: `SharedKey ${account}:${hash}` };
const options = { port, path: `${path}?restype=container`, method: 'PUT', host: '127.0.0.1', headers };
const request = require('http').request(options, answer => {
  if (![201, 409].includes(answer.statusCode)) { console.error(answer.statusCode); process.exitCode = 1; }
  answer.resume();
});
request.on('error', error => { console.error(error.message); process.exitCode = 1; });
request.end();
";

/// A running blob server on 127.0.0.1 with one account, one key and one container.
///
/// The program is `azurite` (npm) in `azurite` of [`tools_dir`](crate::tools_dir), run by `node`.
#[derive(Debug)]
pub struct Azure {
    // Declared, and so dropped, before the folder it runs in.
    process: Supervised,
    folder: Folder,
    port: u16,
    key: String,
}

impl Azure {
    /// Starts a server and waits until its container exists.
    ///
    /// # Errors
    /// [`ErrorKind::NotInstalled`] without Azurite or `node`, [`ErrorKind::NotReady`] when it does not come up.
    pub fn start() -> Result<Self, Error> {
        let node = public_copy(&find_program("node", "node/bin")?)?;
        let installed = tools_dir().join("azurite");
        let main = Path::new("node_modules/azurite/dist/src/blob/main.js");
        if !installed.join(main).is_file() {
            return Err(Error::new(ErrorKind::NotInstalled, "azurite is not installed"));
        }
        let program = public_copy(&installed)?.join(main);
        let folder = Folder::create()?;
        let data = folder.path().join("data");
        folder.user().create_dir(&data)?;
        // Hexadecimal digits are digits of base64 as well, and 40 of them are 30 whole bytes.
        let key = random_hex()? + &random_hex()?;

        let port = Cell::new(0);
        let command = || {
            port.set(free_port()?);
            Ok(azurite(&node, &program, &data, port.get(), &key))
        };
        let how = folder.supervision("KILL");
        let probe = || create_container(&node, port.get(), &key);
        let process = server::start("Azurite", &how, PATIENCE, command, probe)?;
        Ok(Self { process, folder, port: port.get(), key })
    }

    /// Returns the endpoint, `http://127.0.0.1:<port>/<account>`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// Returns the name of the storage account.
    #[must_use]
    pub fn account(&self) -> &'static str {
        ACCOUNT
    }

    /// Returns the account's key, in base64.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the name of the container.
    #[must_use]
    pub fn container(&self) -> &'static str {
        CONTAINER
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
}

fn azurite(node: &PathBuf, program: &Path, data: &Path, port: u16, key: &str) -> Command {
    let mut azurite = Command::new(node);
    azurite.arg(program).args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--location"]);
    azurite.arg(data).args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
    azurite.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{key}")).env("HOME", data);
    azurite
}

fn create_container(node: &PathBuf, port: u16, key: &str) -> Result<(), Error> {
    let port = port.to_string();
    run(Command::new(node).args(["-e", CREATE_CONTAINER, &port, ACCOUNT, key, CONTAINER])).map(drop)
}

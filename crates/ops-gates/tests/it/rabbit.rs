//! RabbitMQ, on loopback and with a name server of its own.

use crate::server::{Authority, Server, find, free_port};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

/// RabbitMQ with a name server and a folder of its own; `OPS_RABBITMQ` may name its program.
pub(crate) struct Rabbit {
    _names: Server,
    pub(crate) server: Server,
    /// Where it speaks TLS.
    pub(crate) tls: u16,
    folder: tempfile::TempDir,
}

impl Drop for Rabbit {
    /// Its program is a script, and what it started is not its child.
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.folder.path().join("pid")).unwrap_or_default();
        let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
    }
}

impl Rabbit {
    /// Starts it with two users, `app` and `reader`, and a queue `orders`; with TLS where there are certificates. None
    /// where it is not installed.
    pub(crate) fn start(authority: Option<&Authority>) -> Option<Self> {
        // Not the one of PATH, which wants to be another user.
        let installed = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
        let program = std::env::var_os("OPS_RABBITMQ").map(PathBuf::from);
        let program = program.or_else(|| installed.is_file().then_some(installed))?;
        let names = find("epmd")?;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let names = Server::start(|port| {
            let mut command = Command::new(names);
            command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
            command
        });
        let at = |name: &str| folder.path().join(name);
        let users = r#"{"users":[{"name":"app","password":"s3cret word","tags":["administrator"]},{"name":"release","password":"s3cret word","tags":[]},{"name":"reader","password":"s3cret word","tags":[]}],
            "vhosts":[{"name":"/"},{"name":"shop"}],
            "permissions":[{"user":"app","vhost":"/","configure":".*","write":".*","read":".*"},{"user":"app","vhost":"shop","configure":".*","write":".*","read":".*"},{"user":"release","vhost":"/","configure":"","write":"","read":".*"},{"user":"reader","vhost":"/","configure":"","write":"","read":".*"}],
            "queues":[{"name":"orders","vhost":"/","durable":true,"auto_delete":false,"arguments":{}}]}"#;
        std::fs::write(at("definitions.json"), users).expect("a file");
        let tls = free_port();
        let server = Server::start(|port| {
            let mut config = format!(
                "listeners.tcp.1 = 127.0.0.1:{port}\nload_definitions = {}\n",
                at("definitions.json").display()
            );
            if let Some(authority) = authority {
                // The server sends the intermediates that it finds among the authorities.
                let (cert, key) = (authority.path("cert.pem"), authority.path("key.pem"));
                config.push_str(&format!(
                    "listeners.ssl.1 = 127.0.0.1:{tls}\nssl_options.cacertfile = {}\nssl_options.certfile = {cert}\nssl_options.keyfile = {key}\n",
                    authority.path("all.pem")
                ));
            }
            std::fs::write(at("rabbitmq.conf"), config).expect("a file");
            let mut command = Command::new(&program);
            command
                .current_dir(folder.path())
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("HOME", folder.path());
            command.env("ERL_EPMD_PORT", names.port.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
            command.env("RABBITMQ_NODENAME", format!("test{port}@localhost"));
            command.env("RABBITMQ_DIST_PORT", free_port().to_string());
            for (name, file) in [
                ("CONFIG_FILE", "rabbitmq.conf"),
                ("MNESIA_BASE", "data"),
                ("LOG_BASE", "log"),
                ("ENABLED_PLUGINS_FILE", "plugins"),
                ("PID_FILE", "pid"),
            ] {
                command.env(format!("RABBITMQ_{name}"), at(file));
            }
            let erlang = "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}";
            command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang);
            command
        });
        Some(Self { _names: names, server, tls, folder })
    }

    /// Becomes a consumer of a queue, for as long as the connection is kept.
    pub(crate) fn consume(&self, queue: &str) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.server.port))?;
        let short = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        let login = b"\0app\0s3cret word";
        let start_ok =
            [&[0; 4][..], &short("PLAIN"), &[0, 0, 0, login.len() as u8], login, &short("en_US")].concat();
        stream.write_all(b"AMQP\0\0\x09\x01")?;
        for (channel, method, arguments, answers) in [
            (0, [0, 10, 0, 11], start_ok, 2),
            // One channel: without a number, more is asked for than the server allows.
            (0, [0, 10, 0, 31], vec![0, 1, 0, 2, 0, 0, 0, 0], 0),
            (0, [0, 10, 0, 40], [short("/"), vec![0, 0]].concat(), 1),
            (1, [0, 20, 0, 10], vec![0], 1),
            (1, [0, 60, 0, 20], [vec![0, 0], short(queue), vec![0, 0, 0, 0, 0, 0]].concat(), 1),
        ] {
            let content = [&method[..], &arguments].concat();
            let head = [&[1, 0, channel, 0, 0][..], &(content.len() as u16).to_be_bytes(), &content, &[0xce]]
                .concat();
            stream.write_all(&head)?;
            for _ in 0..answers {
                let mut head = [0; 7];
                stream.read_exact(&mut head)?;
                let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
                stream.read_exact(&mut vec![0; length + 1])?;
            }
        }
        Ok(stream)
    }
}

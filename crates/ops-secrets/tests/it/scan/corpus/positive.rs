//! Files with a secret.

use super::Sample;
use super::forms::{gzip, tar, utf16, zip};
use super::rng::{Rng, base64, base64_url};
use super::tokens::{MAKERS, NAMED, variable};

fn yes(family: &'static str, path: &str, text: impl Into<Vec<u8>>) -> Sample {
    Sample { family, path: path.to_owned(), bytes: text.into(), secret: true }
}

pub(super) fn samples(rng: &mut Rng) -> Vec<Sample> {
    let mut all = Vec::new();
    for (_, make) in MAKERS {
        for _ in 0..4 {
            let token = make(rng);
            all.push(written(rng, "token", &token));
        }
    }
    for (name, make) in NAMED {
        for _ in 0..2 {
            let value = make(rng);
            all.push(named(rng, name, &value));
        }
    }
    for _ in 0..5 {
        keys(rng, &mut all);
        links(rng, &mut all);
        hidden(rng, &mut all);
        places(rng, &mut all);
    }
    for _ in 0..8 {
        passwords(rng, &mut all);
        pairs(rng, &mut all);
        secrets(rng, &mut all);
        signed(rng, &mut all);
    }
    all
}

/// A token in one of the ways that code and settings hold it.
fn written(rng: &mut Rng, family: &'static str, token: &str) -> Sample {
    let name = variable(rng);
    let lower = name.to_lowercase();
    match rng.below(12) {
        0 => yes(family, "settings.py", format!("import os\n\nDEBUG = True\n{name} = \"{token}\"\n")),
        1 => yes(
            family,
            "main.go",
            format!("package main\n\nconst {lower} = \"{token}\"\n\nfunc main() {{}}\n"),
        ),
        2 => yes(family, ".env", format!("PORT=8080\n{name}={token}\nDEBUG=false\n")),
        3 => yes(family, "config.yml", format!("server:\n  port: 80\n  {lower}: {token}\n")),
        4 => yes(family, "config.json", format!("{{\n  \"{lower}\": \"{token}\",\n  \"port\": 80\n}}\n")),
        5 => yes(
            family,
            "deploy.sh",
            format!("#!/bin/sh\ncurl -H 'X-Auth: {token}' https://api.internal/v1/deploy\n"),
        ),
        6 => yes(family, "README.md", format!("# Usage\n\nRun it with `{token}` for now.\n")),
        7 => yes(
            family,
            "index.js",
            format!("const client = new Client('{token}');\nmodule.exports = client;\n"),
        ),
        8 => yes(
            family,
            "build.log",
            format!("12:00:01 INFO start\n12:00:02 DEBUG sending {token} to the server\n"),
        ),
        9 => yes(
            family,
            "App.java",
            format!("class App {{\n  // {token}\n  static final String X = \"{token}\";\n}}\n"),
        ),
        10 => yes(family, "main.tf", format!("provider \"x\" {{\n  {lower} = \"{token}\"\n}}\n")),
        _ => yes(family, "windows.ini", format!("[main]\r\nport=80\r\n{lower}={token}\r\n")),
    }
}

fn named(rng: &mut Rng, name: &str, value: &str) -> Sample {
    match rng.below(5) {
        0 => yes("named", ".env", format!("PORT=80\n{name}={value}\n")),
        1 => yes("named", "settings.py", format!("{name} = '{value}'\n")),
        2 => yes(
            "named",
            "compose.yml",
            format!("services:\n  web:\n    environment:\n      - {name}={value}\n"),
        ),
        3 => yes("named", "values.yaml", format!("env:\n  {name}: \"{value}\"\n")),
        _ => yes("named", "run.sh", format!("export {name}={value}\n./run\n")),
    }
}

/// The structure of a key, filled with random bytes: no mathematics would make a key of it.
fn der(rng: &mut Rng, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    [vec![0x30, 0x82, high, low], rng.bytes(usize::from(length))].concat()
}

pub(super) fn pem(label: &str, body: &[u8], newline: &str) -> String {
    let text = base64(body);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----{newline}{}{newline}-----END {label}-----{newline}", lines.join(newline))
}

fn keys(rng: &mut Rng, all: &mut Vec<Sample>) {
    let private = |kind: &str| format!("{kind}PRIVATE KEY");
    all.push(yes("key", "id_rsa", pem(&private("RSA "), &der(rng, 1190), "\n")));
    all.push(yes("key", "server.key", pem(&private(""), &der(rng, 1214), "\r\n")));
    all.push(yes("key", "ec.pem", pem(&private("EC "), &der(rng, 300), "\n")));
    let mut ssh = b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01".to_vec();
    ssh.extend(rng.bytes(300));
    all.push(yes("key", "deploy_key", pem(&private("OPENSSH "), &ssh, "\n")));
    let json = pem(&private(""), &der(rng, 1214), "\\n");
    all.push(yes(
        "key",
        "service-account.json",
        format!("{{\"type\":\"service_account\",\"private_key\":\"{json}\"}}\n"),
    ));
    let yaml = pem(&private("RSA "), &der(rng, 1190), "\n    ");
    all.push(yes("key", "secret.yml", format!("tls:\n  key: |\n    {yaml}\n")));
    let code = pem(&private("RSA "), &der(rng, 600), "\\n\" +\n    \"");
    all.push(yes("key", "Keys.java", format!("String key = \"{code}\";\n")));
    all.push(yes("key", "encrypted.pem", pem(&private("ENCRYPTED "), &der(rng, 1300), "\n")));
}

fn links(rng: &mut Rng, all: &mut Vec<Sample>) {
    for scheme in ["postgres", "postgresql+asyncpg", "mysql", "mongodb+srv", "redis", "amqp", "https", "ftp"]
    {
        let (user, host) = (
            rng.pick(&["app", "svc", "deploy", "api"]),
            rng.pick(&["db.internal:5432", "10.0.3.7", "prod-1.acme.io", "cache"]),
        );
        let password =
            if rng.below(2) == 0 { rng.an(14) } else { rng.human_password().replace(['#', '?', '%'], "!") };
        let url = format!("{scheme}://{user}:{password}@{host}/main");
        all.push(match rng.below(4) {
            0 => yes("url", ".env", format!("DATABASE_URL={url}\n")),
            1 => yes("url", "config.yml", format!("db:\n  url: {url}\n")),
            2 => yes("url", "db.ts", format!("export const url = '{url}';\n")),
            _ => yes("url", "notes.txt", format!("connect to {url} and look\n")),
        });
    }
}

fn passwords(rng: &mut Rng, all: &mut Vec<Sample>) {
    let mut add = |path: &str, text: String| all.push(yes("password", path, text));
    add("config.yml", format!("db:\n  user: app\n  password: {}\n", rng.password()));
    add("config.yml", format!("db:\n  password: \"{}\"\n", rng.human_password()));
    add("application.properties", format!("spring.datasource.password={}\n", rng.password()));
    add("db.py", format!("conn = connect(host='db', password='{}')\n", rng.password()));
    add("Config.cs", format!("var s = \"Server=db;User Id=sa;Password={};\";\n", rng.password()));
    add("wp-config.php", format!("<?php\ndefine('DB_PASSWORD', '{}');\n", rng.password()));
    add("main.rs", format!("let password = \"{}\";\n", rng.human_password()));
    add(
        "settings.xml",
        format!("<server><username>ci</username><password>{}</password></server>\n", rng.password()),
    );
    add(".netrc", format!("machine api.acme.io login ci password {}\n", rng.an(16)));
    add("backup.sh", format!("mysqldump --password={} main > dump.sql\n", rng.an(16)));
    add("user.rb", format!("user.password = '{}'\n", rng.human_password()));
    add("test.js", format!("await login({{ username: 'ann', password: '{}' }});\n", rng.human_password()));
}

/// What no sign joins: names and values in two fields, options, statements; and keys without their frame.
fn pairs(rng: &mut Rng, all: &mut Vec<Sample>) {
    let mut add = |path: &str, text: String| all.push(yes("pair", path, text));
    add("deployment.yml", format!("env:\n  - name: DB_PASSWORD\n    value: {}\n", rng.password()));
    add("task.json", format!("{{\"name\": \"API_TOKEN\", \"value\": \"{}\"}}\n", rng.an(32)));
    add("call.sh", format!("curl -fsS -u 'ci:{}' https://api.acme.io/v1\n", rng.an(16)));
    add("core.clj", format!("(def db {{:user \"app\" :password \"{}\"}})\n", rng.human_password()));
    add("roles.sql", format!("CREATE ROLE app LOGIN PASSWORD '{}';\n", rng.password()));
    add("users.sql", format!("CREATE USER 'a'@'%' IDENTIFIED BY '{}';\n", rng.password()));
    let key = base64(&der(rng, 1214));
    add(".env", format!("SIGNING_PRIVATE_KEY=\"{key}\"\n"));
}

fn secrets(rng: &mut Rng, all: &mut Vec<Sample>) {
    let mut add = |path: &str, text: String| all.push(yes("secret", path, text));
    add("settings.py", format!("SECRET_KEY = '{}'\n", rng.an(50)));
    add(".env", format!("JWT_SECRET={}\n", rng.b64(44)));
    add("app.json", format!("{{\"clientSecret\": \"{}\"}}\n", rng.an(32)));
    add("config.toml", format!("api_key = \"{}\"\n", rng.hex(32)));
    add("client.kt", format!("private val accessToken: String = \"{}\"\n", rng.url(40)));
    add("Dockerfile", format!("FROM alpine\nENV API_TOKEN={}\n", rng.an(36)));
    add("values.yaml", format!("signingKey: x\nencryption_key: {}\n", rng.hex(64)));
    add("call.sh", format!("curl 'https://api.acme.io/v1?access_token={}&q=1'\n", rng.an(32)));
}

fn signed(rng: &mut Rng, all: &mut Vec<Sample>) {
    let head = base64_url(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = base64_url(
        format!("{{\"sub\":\"{}\",\"iss\":\"acme\",\"role\":\"service\"}}", rng.hex(8)).as_bytes(),
    );
    let token = format!("{head}.{claims}.{}", rng.url(43));
    all.push(written(rng, "jwt", &token));
    let basic = base64(format!("ci:{}", rng.an(18)).as_bytes());
    all.push(yes("header", "call.http", format!("GET /v1 HTTP/1.1\nAuthorization: Basic {basic}\n")));
    all.push(yes(
        "header",
        "call.sh",
        format!("curl -H \"Authorization: Bearer {}\" https://api.acme.io\n", rng.an(40)),
    ));
}

/// Texts inside texts, and containers.
fn hidden(rng: &mut Rng, all: &mut Vec<Sample>) {
    let token = super::tokens::github(rng);
    let plain = format!("{{\"user\":\"ci\",\"token\":\"{token}\",\"scope\":\"all\"}}");
    let mut add = |family, path: &str, bytes: Vec<u8>| all.push(yes(family, path, bytes));
    add(
        "base64",
        "ci.yml",
        format!("steps:\n  - run: echo {} | base64 -d\n", base64(plain.as_bytes())).into(),
    );
    add("base64", "blob.txt", {
        let text = base64(plain.repeat(3).as_bytes());
        let lines: Vec<&str> =
            (0..text.len()).step_by(76).map(|at| &text[at..text.len().min(at + 76)]).collect();
        lines.join("\n").into()
    });
    let stripe = format!("STRIPE_KEY=sk_live_{}\nPORT=80\n", rng.an(24));
    add(
        "base64",
        "secret.yml",
        format!("kind: Secret\ndata:\n  env: {}\n", base64(stripe.as_bytes())).into(),
    );
    let twice = base64(base64(stripe.as_bytes()).as_bytes());
    add("base64", "twice.txt", format!("x = {twice}\n").into());
    let hex: String = plain.bytes().map(|byte| format!("{byte:02x}")).collect();
    add("hex", "dump.txt", format!("payload: {hex}\n").into());
    let text = format!("password = x\r\ntoken = {token}\r\n");
    add("utf-16", "export.csv", utf16(&text, false, true));
    add("utf-16", "legacy.ini", utf16(&text, true, true));
    add("utf-16", "unmarked.txt", utf16(&text, false, false));
    add("archive", "log.gz", gzip(text.as_bytes()));
    add("archive", "backup.zip", zip("config/.env", text.as_bytes()));
    add("archive", "release.tar.gz", gzip(&tar("app/.env", text.as_bytes())));
    add("archive", "app.jar", zip("lib.zip", &zip("a.properties", text.as_bytes())));
    add("archive", "plain.tar", tar("app/utf16.txt", &utf16(&text, false, true)));
    let cell = format!("{{\"cells\":[{{\"source\":[\"import os\\n\",\"TOKEN = \\\"{token}\\\"\\n\"]}}]}}");
    add("notebook", "work.ipynb", cell.into());
    let (one, two) = token.split_at(18);
    add("split", "split.py", format!("token = (\"{one}\"\n         \"{two}\")\n").into());
    add("split", "split.js", format!("const token = '{one}' +\n  '{two}';\n").into());
    add("split", "Split.java", format!("String t = \"{one}\"\n    + \"{two}\";\n").into());
    add("split", "split.sh", format!("TOKEN={one}\\\n{two}\n").into());
    let binary =
        [rng.bytes(300), vec![0; 8], token.clone().into_bytes(), vec![0; 8], rng.bytes(300)].concat();
    add("binary", "core.bin", binary);
}

/// Places that others leave out, and shapes of files that cost them their find.
fn places(rng: &mut Rng, all: &mut Vec<Sample>) {
    let mut add = |path: &str, text: String| all.push(yes("place", path, text));
    let mut token = || super::tokens::github(rng);
    add("package-lock.json", format!("{{\"resolved\":\"https://npm.acme.io/x.tgz?auth={}\"}}\n", token()));
    add("node_modules/x/index.js", format!("var t='{}';\n", token()));
    add("logo.svg", format!("<svg><!-- {} --></svg>\n", token()));
    add("dist/app.min.js", format!("!function(){{var a=1,b=\"{}\",c=2}}();\n", token()));
    add("vendor/lib.go", format!("package lib\n\nvar t = \"{}\"\n", token()));
    add("go.sum", format!("// {}\n", token()));
    add("noeol.txt", format!("t {}", token()));
    add("näme ünd.txt", format!("t = '{}'\n", token()));
    add("long.txt", format!("{}{}{}", "x ".repeat(500_000), token(), " y".repeat(500_000)));
    add("crlf.txt", format!("a\r\nb = {}\r\n", token()));
    add("query.txt", format!("GET /cb?state=1&key=AIza{}&x=1\n", Rng::new(7).url(35)));
    add("escaped.json", format!("{{\"log\":\"line one\\n{}\\nline three\"}}\n", token()));
    add("encoded.txt", format!("redirect=https%3A%2F%2Fa%2F%3Ftoken%3D{}%26x\n", token()));
    add("poetry.lock", format!("# {}\n", token()));
}

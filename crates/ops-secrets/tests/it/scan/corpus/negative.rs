//! Files without a secret that look as if they had one.

use super::Sample;
use super::positive::pem;
use super::rng::{AN, Rng, base64, base64_url, github_checksum};

struct Writer<'a> {
    all: &'a mut Vec<Sample>,
    family: &'static str,
}

impl Writer<'_> {
    fn add(&mut self, path: &str, text: impl Into<Vec<u8>>) {
        self.all.push(Sample {
            family: self.family,
            path: path.to_owned(),
            bytes: text.into(),
            secret: false,
        });
    }
}

/// Makes the files of a family.
type Family = fn(&mut Rng, &mut Writer<'_>);

pub(super) fn samples(rng: &mut Rng) -> Vec<Sample> {
    let mut all = Vec::new();
    let families: [(&'static str, Family); 14] = [
        ("checksum", checksums),
        ("placeholder", placeholders),
        ("digest", digests),
        ("hash", hashes),
        ("code", code),
        ("prose", prose),
        ("public-key", public_keys),
        ("url", urls),
        ("data", data),
        ("name", names),
        ("publishable", publishable),
        ("identifier", identifiers),
        ("reference", references),
        ("almost", almost),
    ];
    for _ in 0..17 {
        for (family, make) in families {
            make(rng, &mut Writer { all: &mut all, family });
        }
    }
    all
}

/// Tokens that their own checksum disproves.
fn checksums(rng: &mut Rng, to: &mut Writer<'_>) {
    for kind in ["p", "o", "u", "s"] {
        let body = rng.an(30);
        let mut sum: Vec<u8> = github_checksum(&body).into_bytes();
        sum[5] = if sum[5] == b'0' { b'1' } else { b'0' };
        let sum = String::from_utf8(sum).unwrap();
        to.add("fixture.py", format!("FIXTURE = \"gh{kind}_{body}{sum}\"\n"));
    }
}

fn placeholders(rng: &mut Rng, to: &mut Writer<'_>) {
    let values = [
        "your-api-key-here",
        "<YOUR_TOKEN>",
        "xxxxxxxxxxxxxxxxxxxxxxxx",
        "changeme",
        "REPLACE_ME_WITH_A_TOKEN",
        "secret",
        "password123",
        "my-secret-token",
        "${API_TOKEN}",
        "$API_TOKEN",
        "{{ .Values.token }}",
        "%API_TOKEN%",
        "********",
        "TODO",
        "insert-token-here",
        "sk_test_xxxxxxxxxxxxxxxxxxxxxxxx",
        "123456789012345678901234",
        "0123456789abcdef0123456789abcdef",
        "null",
        "none",
        "...",
    ];
    for _ in 0..6 {
        let value = rng.pick(&values);
        let (path, text) = match rng.below(4) {
            0 => (".env.example", format!("API_TOKEN={value}\n")),
            1 => ("config.yml", format!("api:\n  token: {value}\n  password: {value}\n")),
            2 => ("settings.py", format!("API_KEY = \"{value}\"\nPASSWORD = \"{value}\"\n")),
            _ => ("README.md", format!("Set `API_KEY={value}` and run.\n")),
        };
        to.add(path, text);
    }
    to.add("aws.md", format!("aws_access_key_id = AKIA{}EXAMPLE\n", rng.up(9)));
    to.add("github.md", format!("export GITHUB_TOKEN=ghp_{}\n", "x".repeat(36)));
    to.add("stripe.md", "Stripe.api_key = 'sk_test_...'\n");
    to.add("openai.py", "client = OpenAI(api_key='sk-...')\n");
}

fn digests(rng: &mut Rng, to: &mut Writer<'_>) {
    to.add("package-lock.json", format!("{{\"integrity\": \"sha512-{}==\"}}\n", rng.b64(86)));
    to.add("Cargo.lock", format!("[[package]]\nname = \"token\"\nchecksum = \"{}\"\n", rng.hex(64)));
    to.add("go.sum", format!("github.com/x/secret v1.0.0 h1:{}=\n", rng.b64(43)));
    to.add("Dockerfile", format!("FROM alpine@sha256:{}\n", rng.hex(64)));
    to.add("workflow.yml", format!("uses: actions/checkout@{}\n", rng.hex(40)));
    to.add("requirements.txt", format!("x==1.0 --hash=sha256:{}\n", rng.hex(64)));
    to.add("SHA256SUMS", format!("{}  api_key.txt\n{}  token.txt\n", rng.hex(64), rng.hex(64)));
    to.add("commit.txt", format!("commit {}\nAuthor: A <a@b.c>\n\n    Rotate the token\n", rng.hex(40)));
    to.add("index.html", format!("<script integrity=\"sha384-{}\" crossorigin></script>\n", rng.b64(64)));
    to.add(".gitmodules", format!("# secret at {}\n", rng.hex(40)));
}

fn hashes(rng: &mut Rng, to: &mut Writer<'_>) {
    to.add(
        "users.sql",
        format!(
            "INSERT INTO users (name, password_hash) VALUES ('a', '$2b$12${}');\n",
            rng.text(&format!("{AN}./"), 53)
        ),
    );
    to.add("seed.yml", format!("password_digest: {}\n", rng.hex(64)));
    to.add("cache.py", format!("token_hash = '{}'\n", rng.hex(40)));
    to.add("model.json", format!("{{\"secret_sha256\": \"{}\"}}\n", rng.hex(64)));
    to.add(
        "shadow.txt",
        format!("password_hash = \"$argon2id$v=19$m=65536,t=3,p=4${}${}\"\n", rng.b64(22), rng.b64(43)),
    );
}

fn code(rng: &mut Rng, to: &mut Writer<'_>) {
    let lines = [
        "password = get_password(user, realm)",
        "token = self.tokenizer.next_token(2)",
        "let secret = env::var(\"APP_SECRET_2\")?;",
        "const token = req.headers['x-auth-token1'];",
        "String password = console.readPassword();",
        "api_key = os.environ['API_KEY_V2']",
        "if (password !== confirmPassword2) {",
        "def check_password(password: str, hash2: bytes) -> bool:",
        "secret := vault.Read(\"kv/data/app1\")",
        "self.token_embedding = nn.Embedding(50257, 768)",
        "private_key = load_pem_private_key(data, password=None)",
        "access_key = config.get(section, 'access_key_id')",
        "expect(page.getByLabel('Password2')).toBeVisible();",
        "tokens = line.split(',')[1:4]",
        "auth_token = generate_token(length=32)",
        "String secretName = \"prod/app1/database\";",
        "passwordField.setPlaceholder(\"At least 8 characters\");",
        "token: typing.Optional[str] = None",
        "credentials = service_account.Credentials.from_file(path1)",
        "password_validators = ['length8', 'common10k']",
        "let key_pair = rsa::KeyPair::from_pkcs8(&bytes[..32])?;",
        "SECRET_KEY = get_random_secret_key()",
        "this.apiKey = options.apiKey || process.env.API_KEY_2;",
        "Authorization: `Bearer ${await getToken2()}`",
        "headers = {'Authorization': f'Bearer {token2}'}",
        "match token.kind { TokenKind::Ident2 => 1, _ => 2 }",
        "fn parse_token<'a>(input: &'a str) -> Token2<'a> {",
        "password: process.env.DB_PASSWORD ?? '',",
        "api_key=api_key_v2_from_settings",
        "secretKeyRef: { name: app-secret-v2, key: password }",
        "token_type = TokenType.BEARER_V2",
        "pwd = os.getcwd() + '/v2'",
        "export PWD=/home/user/projects/app2",
        "cache_key = f\"user:{user_id}:v2\"",
    ];
    for _ in 0..14 {
        let line = rng.pick(&lines);
        to.add(
            rng.pick(&["main.py", "app.ts", "lib.rs", "Main.java", "auth.go"]),
            format!("// {}\n{line}\n", rng.num(5)),
        );
    }
}

fn prose(rng: &mut Rng, to: &mut Writer<'_>) {
    let lines = [
        "\"password\": \"Enter your password (8+ characters)\",",
        "\"passwordHint\": \"Use at least 1 number and 1 symbol\",",
        "\"token.expired\": \"Your token has expired after 30 days\",",
        "password: Passwort",
        "\"secret\": \"Geheimnis 2\",",
        "The API key is shown once; store it in Vault 1.15.",
        "A password must have 12 characters, e.g. letters and digits.",
        "| token | string | The bearer token of OAuth 2.0 |",
        "password=Mot de passe oublié ?",
        "Basic authentication was removed in 2.0",
        "Bearer tokens are described in RFC6750 section 2",
        "- secret: the name of a Kubernetes Secret (v1)",
        "See https://docs.acme.io/tokens#rotation for how tokens rotate.",
        "# password policy: min 8, max 64, 1 digit",
    ];
    for _ in 0..9 {
        to.add(
            rng.pick(&["en.json", "README.md", "messages.properties", "guide.md"]),
            format!("{}\n{}\n", rng.pick(&lines), rng.pick(&lines)),
        );
    }
}

fn public_keys(rng: &mut Rng, to: &mut Writer<'_>) {
    let body = |rng: &mut Rng| [vec![0x30, 0x82, 1, 0x22], rng.bytes(0x122)].concat();
    to.add("pub.pem", pem("PUBLIC KEY", &body(rng), "\n"));
    to.add("cert.pem", pem("CERTIFICATE", &body(rng), "\n"));
    to.add("signed.asc", pem("PGP SIGNATURE", &body(rng), "\n"));
    to.add("id_rsa.pub", format!("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ{} ci@acme\n", rng.b64(300)));
    to.add("age.txt", format!("# public key: age1{}\n", rng.low(58)));
    let frame = ["-----BEGIN RSA PRIVATE ", "KEY-----"].concat();
    to.add("docs.md", format!("Paste the key, from `{frame}` to the end.\n"));
    to.add("check.py", format!("if text.startswith('{frame}'):\n    return True\n"));
}

fn urls(rng: &mut Rng, to: &mut Writer<'_>) {
    let with = |user: &str, host: &str| format!("postgres://{user}@{host}/main");
    let texts = [
        with("app", "db.internal"),
        with("user:password", "host"),
        with("user:pass", "localhost:5432"),
        with("${USER}:${PASS}", "db"),
        with("postgres:postgres", "localhost"),
        with("user:<password>", "db"),
        with("{user}:{password}", "{host}"),
        with("u:%s", "db"),
        with("user:xxxx", "db"),
        "https://acme.io:8443/a@b/c".to_owned(),
        "git@github.com:acme/x.git".to_owned(),
        "mailto:someone@acme.io".to_owned(),
        "https://unpkg.com/react@18.2.0/umd/react.js".to_owned(),
        "redis://localhost:6379/0".to_owned(),
        with("root:example", "db"),
        with("admin:admin", "127.0.0.1"),
        "https://fonts.acme.io/css2?family=Inter:wght@400;700".to_owned(),
        "ssh://git@git.acme.io:2222/x/y".to_owned(),
    ];
    for _ in 0..9 {
        let text = &texts[rng.below(texts.len())];
        to.add(
            rng.pick(&["config.yml", ".env.example", "README.md", "compose.yml"]),
            format!("url: {text}\n# {}\n", rng.num(4)),
        );
    }
}

fn data(rng: &mut Rng, to: &mut Writer<'_>) {
    let image = rng.bytes(600);
    to.add("style.css", format!("a {{ background: url(data:image/png;base64,{}) }}\n", base64(&image)));
    to.add("font.css", format!("src: url(data:font/woff2;base64,{})\n", base64(&rng.bytes(900))));
    to.add("image.png", [b"\x89PNG\r\n\x1a\n".to_vec(), rng.bytes(2000)].concat());
    to.add("wasm.js", format!("const bytes = atob('{}');\n", base64(&rng.bytes(500))));
    to.add("vectors.json", format!("{{\"input\":\"{}\",\"output\":\"{}\"}}\n", rng.hex(128), rng.hex(64)));
    to.add("table.c", format!("static const uint8_t t[] = {{ 0x{}, 0x{} }};\n", rng.hex(2), rng.hex(2)));
    to.add(
        "map.js.map",
        format!(
            "{{\"version\":3,\"mappings\":\"{}\"}}\n",
            rng.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg,;", 400)
        ),
    );
    to.add("lib.a", rng.bytes(5000));
    to.add("pairs.txt", format!("{}\n{}\n{}\n", rng.b64(76), rng.b64(76), rng.b64(40)));
}

fn names(rng: &mut Rng, to: &mut Writer<'_>) {
    let words = [
        "Service",
        "Token",
        "Provider",
        "Factory",
        "Secret",
        "Manager",
        "Password",
        "Validator",
        "Handler",
        "Config",
    ];
    let name: String = (0..5).map(|_| rng.pick(&words)).collect();
    let snake: Vec<&str> =
        (0..5).map(|_| rng.pick(&["token", "user", "password", "reset", "v2", "cache"])).collect();
    to.add("Bean.java", format!("class {name}2 {{ private {name} secret{name}; }}\n"));
    to.add("a.py", format!("secret_key_{} = {}\n", snake.join("_"), snake.join("_")));
    to.add("b.yml", format!("secretName: {}\ntokenName: {name}2\n", snake.join("-")));
    to.add("c.ts", format!("const token = '{name}2';\n"));
    to.add("d.ini", format!("api_key_path = /etc/{}/key2.pem\n", snake.join("/")));
    to.add("e.toml", format!("password_file = \"/run/secrets/{}\"\n", snake.join("_")));
    to.add("f.go", format!("token := {name}2.New(ctx)\n"));
}

/// Keys that their issuers want to be public.
fn publishable(rng: &mut Rng, to: &mut Writer<'_>) {
    to.add("app.js", format!("Stripe('pk_live_{}')\n", rng.an(24)));
    to.add("app.html", format!("posthog.init('phc_{}')\n", rng.an(43)));
    to.add(
        "sentry.js",
        format!("dsn: 'https://{}@o{}.ingest.sentry.io/{}'\n", rng.hex(32), rng.num(5), rng.num(6)),
    );
    to.add("map.js", format!("mapboxgl.accessToken = 'pk.{}';\n", rng.low(12)));
    to.add("ga.html", format!("gtag('config', 'G-{}');\n", rng.up(10)));
    to.add("recaptcha.html", format!("<div data-sitekey=\"6L{}\"></div>\n", rng.url(38)));
    to.add("twilio.js", format!("const accountSid = 'AC{}';\n", rng.hex(32)));
}

fn identifiers(rng: &mut Rng, to: &mut Writer<'_>) {
    to.add("a.json", format!("{{\"id\": \"{}\", \"trace_id\": \"{}\"}}\n", rng.uuid(), rng.hex(32)));
    to.add("b.yml", format!("client_id: {}\ntenant: {}\n", rng.uuid(), rng.uuid()));
    to.add("c.py", format!("next_page_token = '{}'\n", rng.b64(40)));
    to.add("d.http", format!("ETag: \"{}\"\nX-Request-Id: {}\n", rng.hex(32), rng.uuid()));
    to.add(
        "e.tf",
        format!("arn = \"arn:aws:secretsmanager:eu-west-1:{}:secret:app-{}\"\n", rng.num(12), rng.an(6)),
    );
    to.add("f.sql", format!("INSERT INTO t VALUES ('{}', '{}');\n", rng.an(24), rng.hex(24)));
    to.add("g.js", format!("const csrfToken = '{}';\n", rng.an(32)));
    to.add("h.txt", format!("cursor={}\nnonce={}\n", rng.b64(32), rng.an(22)));
    to.add("i.json", format!("{{\"kid\": \"{}\", \"session\": 17}}\n", rng.url(27)));
    to.add("j.xml", format!("<license-id>{}</license-id>\n", rng.uuid()));
}

fn references(rng: &mut Rng, to: &mut Writer<'_>) {
    let n = rng.num(3);
    to.add("a.yml", format!("password: ${{{{ secrets.DB_PASSWORD_{n} }}}}\n"));
    to.add("b.tf", format!("password = var.db_password_{n}\ntoken = data.vault.x{n}.token\n"));
    to.add("c.yml", format!("password: !vault secret/data/app{n}#password\n"));
    to.add("d.env", format!("DB_PASSWORD_FILE=/run/secrets/db{n}\nAPI_TOKEN=vault:kv/app{n}#token\n"));
    to.add("e.yml", format!("token: op://vault{n}/item/token\n"));
    to.add("f.json", format!("{{\"password\": \"{{{{password{n}}}}}\"}}\n"));
    to.add("g.sh", format!("TOKEN=$(vault read -field=token kv/app{n})\nPASSWORD=\"$(pass db{n})\"\n"));
    to.add("h.yml", format!("api_key: ENC[AES256_GCM,data:{},iv:{}=,type:str]\n", rng.b64(20), rng.b64(43)));
    to.add("i.cs", format!("var password = Configuration[\"Db:Password{n}\"];\n"));
    to.add(
        "k.yml",
        format!(
            "- name: DB_PASSWORD_{n}\n  valueFrom:\n    secretKeyRef: {{ name: db{n}, key: password }}\n"
        ),
    );
    to.add("l.json", format!("{{\"name\": \"password\", \"value\": \"${{PASSWORD_{n}}}\"}}\n"));
    to.add(
        "m.sh",
        format!("curl -u \"$USER:$PASS_{n}\" https://a.acme.io\ndocker run -u 1000:1000 app{n}\n"),
    );
    to.add("n.sql", format!("ALTER ROLE app PASSWORD :'password{n}';\n"));
    to.add("o.h", format!("extern const Template sec_DecodeContentInfoTemplate{n}[];\nint sk_test_case_function_pointer{n}(void);\n"));
    to.add("j.yml", format!("password: {{{{ lookup('env', 'DB_PASSWORD_{n}') }}}}\n"));
}

/// Almost the shape of a token: too short, too long, a wrong alphabet, a part of another word.
fn almost(rng: &mut Rng, to: &mut Writer<'_>) {
    to.add("a.txt", format!("ghp_{}\n", rng.an(20)));
    to.add("b.txt", format!("x AKIA{} y\n", rng.text("abcdefghij", 16)));
    to.add("c.txt", format!("task_live_{}\n", rng.an(24)));
    to.add("d.txt", format!("AIza{}\n", rng.url(12)));
    to.add("e.txt", format!("eyJ{}.{}.{}\n", rng.an(20), rng.an(20), rng.an(20)));
    let (head, claims) = (base64_url(br#"{"alg":"none"}"#), base64_url(br#"{"sub":"1"}"#));
    to.add("f.txt", format!("{head}.{claims}.\n"));
    to.add("g.txt", format!("glpat-{}\n", rng.url(9)));
    to.add("h.txt", format!("SG.{}\n", rng.url(22)));
    to.add("i.txt", format!("xoxb-{}\n", rng.num(6)));
    to.add("j.txt", format!("npm_config_registry=https://r{}.acme.io\nnpm_package_version\n", rng.num(2)));
}

//! Typed settings from four layers, a secret that cannot be printed, and a masker that knows it.
//!
//! `cargo run -p ops-examples --bin example-secrets`

use ops_secrets::{Loader, Masker, Secret};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Settings {
    database: Database,
}

#[derive(Debug, Deserialize)]
struct Database {
    host: String,
    port: u16,
    password: Secret,
}

fn main() -> anyhow::Result<()> {
    let masker = Masker::new();
    // A real program passes `std::env::vars_os()`. A password of digits stays text, because the field says so.
    let environment = [("SHOP_DATABASE_PASSWORD".into(), "00123456 'quoted' %".into())];
    let loaded = Loader::<Settings>::new()
        .defaults_toml("[database]\nhost = 'localhost'\nport = 5432\npassword = ''")
        .env_vars("SHOP_", environment)
        .flag("database.port", "6432", "--port")
        .masker(masker.clone())
        .load()?;

    tell(&format!(
        "{:?} on {}:{}",
        loaded.settings, loaded.settings.database.host, loaded.settings.database.port
    ));
    for entry in loaded.report.entries() {
        tell(&format!("{:20} {:12} {}", entry.key, entry.value, entry.source));
    }
    let line = format!("connecting with {}", loaded.settings.database.password.expose_secret());
    tell(&masker.mask_str(&line));
    anyhow::ensure!(masker.mask_str(&line) == "connecting with [redacted]", "the secret was printed");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example talks to its reader")]
fn tell(line: &str) {
    println!("{line}");
}

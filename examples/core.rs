//! A guarded client in place of `tokio_postgres::Client`, on a disposable server.
//!
//! `cargo run -p ops-examples --bin example-core`

use anyhow::{Context as _, ensure};
use ops_core::connection::ConnectionSettings;
use ops_core::guard::Policy;
use ops_core::postgres::{GuardedClient, Manager, SessionLimits};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = ops_testkit::Postgres::start().map_err(|error| anyhow::anyhow!("{error:?}"))?;
    server
        .psql("CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 100) n")
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let settings = ConnectionSettings::parse(&server.url())?.with_application("shop", None);

    let client = GuardedClient::connect(&settings, Policy::app()).await?;
    let deleted = client.execute("DELETE FROM orders WHERE id = $1", &[&7_i32]).await?;
    tell(&format!("a bounded delete concerned {deleted} row"));

    for sql in [
        "DELETE FROM orders",
        "DELETE FROM orders WHERE true",
        "WITH d AS (DELETE FROM orders RETURNING 1) SELECT 1",
        "DROP TABLE orders",
    ] {
        let error = client.execute(sql, &[]).await.err().context("it was not refused")?;
        let verdict = error.denial().context("it failed for another reason")?;
        let denied = verdict.denied().next().context("nothing was denied")?;
        tell(&format!("{sql}\n    {}", denied.reason.as_deref().unwrap_or_default()));
    }

    // The same guard in a pool; what comes back into it is made like new.
    let pool = Manager::new(settings, Policy::read_only(), &SessionLimits::default()).pool(4);
    let pooled = pool.get().await?;
    let left: i64 = pooled.query_one("SELECT count(*) FROM orders", &[]).await?.get(0);
    ensure!(left == 99, "{left} orders are left");
    tell(&format!("{left} orders are left"));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example talks to its reader")]
fn tell(line: &str) {
    println!("{line}");
}

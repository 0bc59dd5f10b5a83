//! A guarded client does not dereference to the raw one.

use ops_core::postgres::{GuardedClient, GuardedTransaction, Pool};

#[expect(dead_code, reason = "it must not even compile")]
async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
    let _ = (&client, &transaction, &pool);
    let _: &tokio_postgres::Client = &**client;
}

fn main() {}

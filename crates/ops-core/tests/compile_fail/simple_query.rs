//! There is no simple protocol.

use ops_core::postgres::{GuardedClient, GuardedTransaction, Pool};

#[expect(dead_code, reason = "it must not even compile")]
async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
    let _ = (&client, &transaction, &pool);
    client.simple_query("DELETE FROM ledger").await.unwrap();
}

fn main() {}

//! There is no way to send a script.

use ops_core::postgres::{GuardedClient, GuardedTransaction, Pool};

#[expect(dead_code, reason = "it must not even compile")]
async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
    let _ = (&client, &transaction, &pool);
    client.batch_execute("DELETE FROM ledger").await.unwrap();
}

fn main() {}

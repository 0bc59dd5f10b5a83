//! A statement that was not judged cannot run.

use ops_core::postgres::{GuardedClient, GuardedTransaction, Pool};

#[expect(dead_code, reason = "it must not even compile")]
async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
    let _ = (&client, &transaction, &pool);
    let statement: tokio_postgres::Statement = todo!(); client.execute(&statement, &[]).await.unwrap();
}

fn main() {}

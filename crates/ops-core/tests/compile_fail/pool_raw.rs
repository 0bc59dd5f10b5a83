//! A pool hands out guarded clients only.

use ops_core::postgres::{GuardedClient, GuardedTransaction, Pool};

#[expect(dead_code, reason = "it must not even compile")]
async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
    let _ = (&client, &transaction, &pool);
    let _: tokio_postgres::Client = deadpool::managed::Object::take(pool.get().await.unwrap());
}

fn main() {}

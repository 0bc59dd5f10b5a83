//! The raw client'\''s trait is not implemented.

use ops_core::postgres::{GuardedClient, GuardedTransaction, Pool};

#[expect(dead_code, reason = "it must not even compile")]
async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
    let _ = (&client, &transaction, &pool);
    fn raw(_: &impl tokio_postgres::GenericClient) {} raw(&*client);
}

fn main() {}

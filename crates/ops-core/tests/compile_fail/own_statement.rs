//! Nobody else can say what a statement is.

use ops_core::postgres::{GuardedClient, GuardedTransaction, Pool};

#[expect(dead_code, reason = "it must not even compile")]
async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
    let _ = (&client, &transaction, &pool);
    struct Mine; impl ops_core::postgres::ToStatement for Mine {}
}

fn main() {}

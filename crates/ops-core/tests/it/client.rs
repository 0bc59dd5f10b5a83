//! The guarded client as a client: copy, savepoints, pipelines, cancelling, notifications, and futures that are dropped.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt as _};
use ops_core::ErrorKind;
use ops_core::connection::ConnectionSettings;
use ops_core::guard::Policy;
use ops_core::postgres::{GenericClient, GuardedClient, Heard, Manager, SessionLimits};
use ops_testkit::Postgres;

fn server(setup: &str) -> Postgres {
    let postgres = Postgres::start().unwrap();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL DEFAULT 0)").unwrap();
    postgres.psql(setup).unwrap();
    postgres
}

async fn app(postgres: &Postgres) -> GuardedClient {
    let settings = ConnectionSettings::parse(&postgres.url()).unwrap();
    GuardedClient::connect(&settings, Policy::app()).await.unwrap()
}

#[tokio::test]
async fn rows_are_copied_in_and_out() {
    let postgres = server("");
    let client = app(&postgres).await;
    let mut copy = client.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send(Bytes::from_static(b"1\t10\n2\t")).await.unwrap();
    SinkExt::send(&mut copy, Bytes::from_static(b"20\n")).await.unwrap();
    assert_eq!(copy.finish().await.unwrap(), 2);

    let out = client.copy_out("COPY (SELECT * FROM t ORDER BY id) TO STDOUT").await.unwrap();
    let rows: Vec<Bytes> = out.try_collect().await.unwrap();
    assert_eq!(rows.concat(), b"1\t10\n2\t20\n");

    // Dropped before its end, nothing lasts, and the session goes on.
    let mut copy = client.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send(Bytes::from_static(b"3\t30\n")).await.unwrap();
    drop(copy);
    let mut copy = client.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send(Bytes::from_static(b"1\t10\n")).await.unwrap();
    assert_eq!(copy.finish().await.unwrap_err().sqlstate(), Some("23505"));
    assert_eq!(client.query("SELECT * FROM t", &[]).await.unwrap().len(), 2);

    for refused in ["COPY t FROM PROGRAM 'echo 1'", "COPY t TO '/tmp/t'", "DELETE FROM t"] {
        assert_eq!(client.copy_in(refused).await.unwrap_err().kind(), ErrorKind::Denied, "{refused}");
    }
    let writes = "COPY (DELETE FROM t WHERE id = 1 RETURNING *) TO STDOUT";
    assert_eq!(client.copy_out(writes).await.unwrap_err().kind(), ErrorKind::InvalidParameter);
    assert_eq!(postgres.psql("SELECT count(*) FROM t").unwrap(), "2");
}

#[tokio::test]
async fn savepoints_nest_and_either_end_of_them_works() {
    async fn add(client: &impl GenericClient, id: i32) -> u64 {
        client.execute("INSERT INTO t VALUES ($1)", &[&id]).await.unwrap()
    }

    let postgres = server("");
    let mut client = app(&postgres).await;
    add(&client, 1).await;
    let mut outer = client.transaction().await.unwrap();
    add(&outer, 2).await;
    let inner = outer.transaction().await.unwrap();
    add(&inner, 3).await;
    inner.rollback().await.unwrap();
    let mut inner = outer.transaction().await.unwrap();
    add(&inner, 4).await;
    let innermost = inner.transaction().await.unwrap();
    add(&innermost, 5).await;
    drop(innermost);
    inner.commit().await.unwrap();
    // An error of the server leaves the transaction to be rolled back to where it was whole.
    let inner = outer.transaction().await.unwrap();
    assert_eq!(inner.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap_err().sqlstate(), Some("23505"));
    assert_eq!(inner.query("SELECT 1", &[]).await.unwrap_err().sqlstate(), Some("25P02"));
    inner.rollback().await.unwrap();
    // A refusal does not.
    assert_eq!(outer.execute("DELETE FROM t", &[]).await.unwrap_err().kind(), ErrorKind::Denied);
    add(&outer, 6).await;
    outer.commit().await.unwrap();
    assert_eq!(postgres.psql("SELECT string_agg(id::text, ',' ORDER BY id) FROM t").unwrap(), "1,2,4,6");
}

#[tokio::test]
async fn statements_of_one_session_may_overlap() {
    let postgres = server("INSERT INTO t SELECT i FROM generate_series(1, 50) AS i");
    let client = app(&postgres).await;
    let read = client.prepare("SELECT v FROM t WHERE id = $1").await.unwrap();
    let write = client.prepare("UPDATE t SET v = v + 1 WHERE id = $1").await.unwrap();
    let ids: Vec<i32> = (1..=50).collect();
    let work = ids.iter().map(|id| async {
        client.execute(&write, &[id]).await.unwrap();
        let row = client.query_one(&read, &[id]).await.unwrap();
        client.execute(&write, &[id]).await.unwrap();
        row.get::<_, i32>(0)
    });
    let found = futures_util::future::join_all(work).await;
    assert!(found.iter().all(|value| *value == 1), "{found:?}");
    assert_eq!(postgres.psql("SELECT sum(v), count(*) FROM t").unwrap(), "100|50");
}

#[tokio::test]
async fn a_future_that_is_dropped_leaves_nothing_open() {
    let postgres = server("INSERT INTO t SELECT i FROM generate_series(1, 50) AS i");
    let mut client = app(&postgres).await;
    let write =
        client.prepare("UPDATE t SET v = v + 1 WHERE id = $1 AND pg_sleep(0.01) IS NOT NULL").await.unwrap();
    // Cancelled at moments from before the first byte until after the commit.
    for step in 0..60_u64 {
        let work = client.execute(&write, &[&1]);
        let _ = tokio::time::timeout(Duration::from_micros(step * 500), work).await;
        assert_eq!(client.query("SELECT 1 FROM t WHERE id = 1", &[]).await.unwrap().len(), 1, "{step}");
        let state = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'";
        assert_eq!(postgres.psql(state).unwrap(), "0", "{step}");
        let transaction = client.transaction().await.unwrap();
        let work = transaction.execute(&write, &[&2]);
        let _ = tokio::time::timeout(Duration::from_micros(step * 500), work).await;
        transaction
            .execute("INSERT INTO t VALUES ($1)", &[&(100 + i32::try_from(step).unwrap())])
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }
    assert_eq!(postgres.psql("SELECT count(*) FROM t WHERE id >= 100").unwrap(), "60");
}

#[tokio::test]
async fn a_running_statement_can_be_cancelled() {
    let postgres = server("");
    let client = app(&postgres).await;
    let token = client.cancel_token();
    let cancel = async {
        // Until it runs there is nothing to cancel.
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            token.cancel().await.unwrap();
        }
    };
    let work = client.query("SELECT pg_sleep(100)", &[]);
    let ended = tokio::select! {
        ended = work => ended,
        () = cancel => panic!("the statement was not cancelled"),
    };
    assert_eq!(ended.unwrap_err().sqlstate(), Some("57014"));
    assert_eq!(client.query("SELECT 1", &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn notifications_are_heard() {
    let postgres = server("");
    let client = app(&postgres).await;
    let mut heard = client.notifications();
    client.execute("LISTEN news", &[]).await.unwrap();
    client.execute("SELECT pg_notify('news', $1)", &[&"one"]).await.unwrap();
    client.execute("NOTIFY news, 'two'", &[]).await.unwrap();
    for expected in ["one", "two"] {
        let Some(Heard::Notification(news)) = heard.next().await else { panic!("nothing was heard") };
        assert_eq!((news.channel(), news.payload()), ("news", expected));
    }
    drop(client);
    assert!(heard.next().await.is_none());
}

#[tokio::test]
async fn statements_that_cannot_stand_in_a_transaction_run_by_themselves() {
    let postgres = server("");
    let settings = ConnectionSettings::parse(&postgres.url()).unwrap();
    let mut client = GuardedClient::connect(&settings, Policy::migration()).await.unwrap();
    client.execute("VACUUM t", &[]).await.unwrap();
    client.execute("CREATE INDEX CONCURRENTLY i ON t (v)", &[]).await.unwrap();
    client.execute("REINDEX TABLE CONCURRENTLY t", &[]).await.unwrap();
    client.execute("DROP INDEX CONCURRENTLY i", &[]).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    assert_eq!(transaction.execute("VACUUM t", &[]).await.unwrap_err().sqlstate(), Some("25001"));
    drop(transaction);
    assert_eq!(client.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap(), 1);
    let mode = client.query_one("SHOW transaction_read_only", &[]).await.unwrap();
    assert_eq!(mode.get::<_, &str>(0), "on");
}

#[tokio::test]
async fn a_session_whose_settings_change_behind_the_guard_is_given_up() {
    let postgres = server(
        "CREATE FUNCTION weaken() RETURNS text LANGUAGE sql \
         AS $$ SELECT set_config('default_transaction_read_only', 'off', false) $$",
    );
    let settings = ConnectionSettings::parse(&postgres.url()).unwrap();
    let policy = Policy::app().allow_function("weaken").allow_function("public.weaken");
    let pool = Manager::new(settings, policy, &SessionLimits::default()).pool(1);
    let first = {
        let client = pool.get().await.unwrap();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        // What the body shows may refuse it at once; what it does gives the session up.
        let ended = client.query("SELECT weaken()", &[]).await;
        if ended.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let error = client.query("SELECT 1", &[]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::SessionChanged);
            assert!(client.is_closed());
        }
        (pid, ended.is_ok())
    };
    let client = pool.get().await.unwrap();
    let second: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    assert_eq!(first.0 != second, first.1);
}

#[tokio::test]
async fn a_copy_that_the_server_does_not_begin_gives_the_session_up() {
    let postgres = server("");
    let client = app(&postgres).await;
    let error = client.copy_in("COPY t FROM STDIN (FORMAT csv, FORCE_NULL (nothing))").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server, "{error}");
    let after = client.query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(after.kind(), ErrorKind::SessionChanged, "{error:?} {after:?}");
    assert!(client.is_closed());
}

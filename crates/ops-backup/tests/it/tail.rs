//! A rehearsal where the newest WAL was received as it was written, and lies in no complete segment.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use ops_backup::rehearse::{Requirement, RunAs};
use ops_backup::{Monitor, RehearseOptions, rehearse};
use ops_core::evidence::Outcome;

use crate::receive::{NEVER, Receiving, flushed, options};
use crate::rehearse::{assertion, scratch};
use crate::support::{Site, restore_command, restore_command_with_tail};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_measured_by_the_tail() {
    let site = Site::start_with(|cluster| cluster.setting("autovacuum", "off")).await;
    site.psql("CREATE TABLE t (n int)");
    site.backup().await;
    site.switch_wal().await;
    let mut receiving = Receiving::start(&site.repository, &site.postgres, options(NEVER));
    receiving.until("streaming", |status| status.streaming).await;
    site.psql("INSERT INTO t SELECT generate_series(1, 1000)");
    let end = flushed(&site.postgres);
    receiving.until("received", |status| status.received >= Some(end)).await;
    // It is stored as the receiver ends, so some time after the last commit.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let durable = receiving.stop().await.durable.unwrap();
    assert!(durable >= end);

    let owner = fs::metadata(site.postgres.data_dir()).unwrap();
    let place = site.place();
    for (with_tail, rows) in [(true, "1000"), (false, "0")] {
        let scratch = scratch();
        let programs = ops_testkit::bin_dir(site.postgres.major()).unwrap();
        let mut options = RehearseOptions::new(scratch.path(), programs, restore_command(&place));
        options.restore_command_with_tail = with_tail.then(|| restore_command_with_tail(&place));
        options.run_as = Some(RunAs { uid: owner.uid(), gid: owner.gid() });
        options.amcheck = Requirement::Skipped;
        options.assertions = vec![assertion("rows", "SELECT count(*) FROM t", rows)];
        let done = rehearse(&site.repository, &options, &Monitor::default()).await.unwrap();
        let record = &done.record;
        assert_eq!(record.outcome, Outcome::Passed, "{:#?}", record.checks);
        let replay = record.checks.iter().find(|check| check.name == "replay").unwrap();
        let reached: ops_backup::Lsn = record.attributes["reached_lsn"].parse().unwrap();
        let lost = done.measurements.data_lost_bytes.unwrap();
        assert_eq!(reached >= end, with_tail, "{}", replay.detail);
        if with_tail {
            assert_eq!(lost, durable.0.saturating_sub(reached.0));
            assert!(replay.detail.ends_with(&format!("the archive ends at {durable}")), "{}", replay.detail);
            // From the last commit to the moment at which the tail was stored.
            let lost = done.measurements.data_lost.unwrap();
            assert!(!lost.is_zero(), "the moment of an older segment is taken for that of the tail");
        } else {
            assert!(replay.detail.ends_with("000000"), "the end of a segment: {}", replay.detail);
        }
    }
}

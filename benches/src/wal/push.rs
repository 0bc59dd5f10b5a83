//! A backlog of segments is archived.

use super::Site;
use super::archiver::{Archived, archive};
use crate::backup::cluster::sync;
use crate::backup::programs::remove;
use crate::report::Row;
use anyhow::Result;

const CP: &str = "cp";

/// One way to archive.
struct Way {
    name: String,
    command: String,
    service: Option<Vec<String>>,
    head_start: bool,
    runs: Vec<Archived>,
    /// Bytes in the repository after the last run.
    stored: u64,
}

pub(super) fn run(site: &Site) -> Result<Vec<Row>> {
    let names = site.waiting()?;
    let data = site.data.display().to_string();
    // Repositories of their own, which every run finds empty.
    let ours = crate::backup::programs::Ours::new(&site.home, "ours-push");
    let copies = site.home.join("copies");
    let service = Some(ours.words(&["wal", "serve", "--data-directory", &data]));
    let way = |name: &str, command: String, service: Option<Vec<String>>, head_start| Way {
        name: name.to_owned(),
        command,
        service,
        head_start,
        runs: Vec::new(),
        stored: 0,
    };
    let mut ways = vec![
        way("service", format!("{} %p", ours.push()), service.clone(), false),
        way("commands alone", format!("{} %p", ours.push()), None, false),
        way("service, stored ahead", format!("{} %p", ours.push()), service, true),
        way(CP, format!("cp %p {}/%f", copies.display()), None, false),
    ];
    if let Some(peer) = &site.peer {
        ways.push(way(&peer.name(), format!("{} %p", peer.push()), None, false));
    }
    for round in 0..site.rounds {
        for way in &mut ways {
            for name in &names {
                let note = |end: &str| site.data.join("pg_wal/archive_status").join(format!("{name}.{end}"));
                let _ = std::fs::rename(note("done"), note("ready"));
            }
            ours.fresh()?;
            remove(&copies)?;
            std::fs::create_dir(&copies)?;
            if let Some(peer) = &site.peer {
                peer.fresh_offline()?;
            }
            sync(&site.home)?;
            let run = archive(&site.data, &way.command, way.service.as_deref(), way.head_start)?;
            eprintln!(
                "push, round {}: {} in {:.2} s, CPU {:.2} s",
                round + 1,
                way.name,
                run.seconds,
                run.cpu
            );
            way.runs.push(run);
            way.stored = match &site.peer {
                Some(peer) if way.name == peer.name() => peer.stored_wal()?,
                _ if way.name == CP => 0,
                _ => ours.stored_wal()?,
            };
        }
    }
    Ok(rows(&ways, names.len() as f64))
}

fn rows(ways: &[Way], count: f64) -> Vec<Row> {
    let of = |name: &str| ways.iter().find(|way| way.name == name).map(|way| Archived::median(&way.runs));
    let (Some(ours), Some(alone), Some(ahead), Some(cp)) =
        (of("service"), of("commands alone"), of("service, stored ahead"), of(CP))
    else {
        return Vec::new();
    };
    let peer = ways.get(4).map(|way| (way.name.clone(), Archived::median(&way.runs)));
    let stored = |way: usize| ways.get(way).map(|way| way.stored as f64 / 1e6);
    let beside = |row: Row, figure: fn(&Archived) -> f64, scale: f64| match &peer {
        Some((name, theirs)) => row.beside(name.clone(), figure(theirs) * scale, None),
        None => row.beside_absent("pgBackRest"),
    };
    let seconds: fn(&Archived) -> f64 = |run| run.seconds;
    let cpu: fn(&Archived) -> f64 = |run| run.cpu;
    vec![
        beside(
            Row::new("push: time for a segment, service", "ms", ours.seconds / count * 1e3),
            seconds,
            1e3 / count,
        )
        .ratio_at_most(1.0 / 1.5),
        Row::new("push: time for a segment, service", "ms", ours.seconds / count * 1e3).beside(
            "cp, not durable",
            cp.seconds / count * 1e3,
            None,
        ),
        Row::new("push: time for a segment, service", "ms", ours.seconds / count * 1e3).beside(
            "commands alone",
            alone.seconds / count * 1e3,
            None,
        ),
        beside(Row::new("push: CPU for a segment, service", "ms", ours.cpu / count * 1e3), cpu, 1e3 / count)
            .ratio_at_most(0.7),
        match (&peer, stored(4)) {
            (Some((name, _)), Some(theirs)) => {
                let row = Row::new("push: stored, service", "MB", stored(0).unwrap_or(f64::NAN));
                row.beside(name.clone(), theirs, None).ratio_at_most(1.0)
            }
            _ => Row::new("push: stored, service", "MB", stored(0).unwrap_or(f64::NAN)),
        },
        Row::new("push: a call that finds its segment stored, p50", "ms", ahead.quantile(0.5) * 1e3)
            .at_most(5.0),
        Row::new("push: a call that finds its segment stored, p99", "ms", ahead.quantile(0.99) * 1e3)
            .at_most(25.0),
        Row::new("push: peak memory of the service", "MB", ours.memory as f64 / 1e6),
    ]
}

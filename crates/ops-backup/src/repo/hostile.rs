//! What every decoder of stored bytes must do with any bytes: end, without a panic, and in memory that the bytes bound;
//! and what one accepts must hold together. Begins with valid objects and changes them, so that most of each is read.

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::error::ErrorKind;
use crate::postgres::lsn::{Lsn, SystemIdentifier};
use crate::postgres::segment::{self, ArchiveFile, Cluster, SegmentSize};
use crate::postgres::timeline::History;
use crate::repo::compress::{Compression, Decompressor};
use crate::repo::content::{
    BLOCK, Content, Entry, Extent, FileEntry, Listing, ListingRef, Manifest, PIECE, Part, PartListing,
    PartPiece, Piece, PieceRef,
};
use crate::repo::crypt::{BlockHash, Secrets};
use crate::repo::fake;
use crate::repo::log::{Event, Expired, Host, Proof, Record, State, WalStretch};
use crate::repo::pack::{Frame, FrameRef, PackId, PackRef, PackTable};
use crate::repo::seal::{HEADER, Kind};

/// One change of some bytes: what, where, and with which value.
type Change = (u8, prop::sample::Index, u64);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec((0..8_u8, any::<prop::sample::Index>(), any::<u64>()), 1..5)
}

/// Numbers at which something may overflow, or be too much.
const EDGES: [u64; 12] = [
    0,
    1,
    BLOCK as u64,
    PIECE,
    PIECE + 1,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (what, at, value) in changes {
        let at = at.index(bytes.len() + 1);
        let end = (at + (*value % 64) as usize).min(bytes.len());
        match what {
            0 if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
            1 => bytes.truncate(at),
            2 => bytes.insert(at, *value as u8),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            // The next number becomes another one.
            _ => {
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                let Some(start) = bytes[at..].iter().position(is_digit) else { continue };
                let start = at + start;
                let length = bytes[start..].iter().take_while(|byte| is_digit(byte)).count();
                let present: Option<u64> =
                    std::str::from_utf8(&bytes[start..start + length]).unwrap().parse().ok();
                let number = match (what, present) {
                    (5, Some(present)) if value % 2 == 0 => present.saturating_add(1),
                    (5, Some(present)) => present.saturating_sub(1),
                    _ => EDGES.get((value % 16) as usize).copied().unwrap_or(value % 100),
                };
                bytes.splice(start..start + length, number.to_string().into_bytes());
            }
        }
    }
    bytes
}

fn pack(table: &PackTable, name: u8) -> PackId {
    let (backup, size, raw) = ("20261121T053600Z-1a2b3c4d".to_owned(), 1000, 200_000);
    table.intern(PackRef { backup, name: [name; 32], salt: [name; 16], size, raw })
}

fn frame(table: &PackTable, name: u8, offset: u64, raw: u32) -> Frame {
    Frame { pack: pack(table, name), offset, stored: 100, raw }
}

fn piece(table: &PackTable) -> Piece {
    // Each ends where its frame ends, so that one more is too much.
    let block = BLOCK as u32;
    let extents = vec![
        Extent { frame: frame(table, 1, 40, 16 + 4 * block), skip: 16, blocks: 4 },
        Extent { frame: frame(table, 2, 900, block), skip: 0, blocks: 1 },
        Extent { frame: frame(table, 1, 140, 1 + block + 5), skip: 1, blocks: 2 },
    ];
    let hashes = (0..7).map(|n| BlockHash([n; 16])).collect();
    Piece { length: 6 * BLOCK as u64 + 5, crc32c: 7, extents, hashes }
}

fn piece_ref(table: &PackTable) -> PieceRef {
    let frame = FrameRef { frame: frame(table, 3, 0, 500), hash: BlockHash([9; 16]) };
    PieceRef { frame, uses: vec![(pack(table, 1), 5), (pack(table, 2), u64::MAX)] }
}

fn listing(table: &PackTable) -> Listing {
    let file = |path: &str, size, content| {
        Entry::File(FileEntry { path: path.to_owned(), mode: 0o600, modified: -5, size, crc32c: 7, content })
    };
    let entries = vec![
        Entry::Directory { path: "base".to_owned(), mode: 0o700 },
        file("base/1", 6 * BLOCK as u64 + 5, Content::Inline(piece(table))),
        file("base/2", PIECE + 1, Content::Pieces(vec![piece_ref(table), piece_ref(table)])),
        Entry::Link { path: "link".to_owned(), target: "../\u{FC}".to_owned() },
        file("zero", 0, Content::Inline(Piece::default())),
    ];
    Listing { entries }
}

fn manifest(table: &PackTable) -> Manifest {
    let listing = |first: &str| ListingRef {
        first: first.to_owned(),
        frame: piece_ref(table).frame,
        uses: piece_ref(table).uses,
    };
    let listings = vec![listing("base"), listing("zero")];
    Manifest { backup: "b".to_owned(), source: fake::source(), files: 3, bytes: 9, listings }
}

fn part(table: &PackTable) -> Part {
    let listing = manifest(table).listings.remove(0);
    Part {
        pieces: vec![PartPiece { path: "base/2".to_owned(), number: 1, reference: piece_ref(table) }],
        listings: vec![PartListing { listing, last: "zero".to_owned() }],
    }
}

/// What restores and verifications rely on without a further look.
fn holds_together(piece: &Piece, table: &PackTable) {
    let mut next = 0;
    for (start, bytes, extent) in piece.places() {
        let Frame { pack, offset, stored, raw } = extent.frame;
        assert_eq!(start, next);
        assert!(bytes > 0 && u64::from(extent.skip) + bytes <= u64::from(raw), "{piece:?}");
        assert!(offset + u64::from(stored) <= table.get(pack).size, "{piece:?}");
        next += bytes;
    }
    assert!(next == piece.length && next <= PIECE, "{piece:?}");
    assert_eq!(piece.hashes.len() as u64, piece.length.div_ceil(BLOCK as u64));
    piece.uses();
}

fn records() -> Vec<Record> {
    let text = |text: &str| text.to_owned();
    let events = [
        Event::Begin { backup: text("a"), source: text("tree/x"), bases: vec![text("z")] },
        Event::Commit { backup: Box::new(fake::backup("a")) },
        Event::Begin { backup: text("b"), source: text("tree/x"), bases: vec![text("a")] },
        Event::Abandon { backup: text("b"), reason: text("it was stopped") },
        Event::Verify { proofs: vec![Proof { backup: text("a"), complete: true, problems: 3 }] },
        Event::Rehearse { backup: text("a"), passed: true, recovery_seconds: 1.5 },
        Event::Expire { backups: vec![Expired { backup: text("a"), reason: text("old") }] },
        Event::ExpireWal {
            system_identifier: SystemIdentifier(7),
            before: 12,
            keep: vec![WalStretch { timeline: 1, first: 3, last: 4 }],
        },
        Event::Condemn { list: text("condemned/0"), packs: 1, bytes: 2, backups: vec![text("a")] },
        Event::Sweep { condemned: 9 },
        Event::RemoveKey { key: text("0123456789abcdef") },
    ];
    let mut records: Vec<Record> = Vec::new();
    for event in events {
        let number = records.len() as u64 + 1;
        records.push(Record::new(number, Timestamp::UNIX_EPOCH, Host::this(), event, records.last()));
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_of_changed_content_holds_together(changes in changes()) {
        let table = PackTable::default();
        if let Ok(piece) = Piece::decode(&changed(&piece(&table).encode(&table), &changes), &table) {
            holds_together(&piece, &table);
            prop_assert_eq!(Piece::decode(&piece.encode(&table), &table).unwrap(), piece);
        }
        if let Ok(listing) = Listing::decode(&changed(&listing(&table).encode(&table), &changes), &table) {
            for entry in &listing.entries {
                let path = std::path::Path::new(entry.path());
                let is_normal = |part| matches!(part, std::path::Component::Normal(_));
                prop_assert!(!entry.path().is_empty() && path.components().all(is_normal), "{path:?}");
                match entry {
                    Entry::File(FileEntry { content: Content::Inline(piece), size, .. }) => {
                        holds_together(piece, &table);
                        prop_assert_eq!(piece.length, *size);
                    }
                    Entry::File(FileEntry { content: Content::Pieces(pieces), size, .. }) => {
                        prop_assert_eq!(pieces.len() as u64, size.div_ceil(PIECE));
                    }
                    Entry::Directory { .. } | Entry::Link { .. } => {}
                }
            }
            listing.uses();
            prop_assert_eq!(Listing::decode(&listing.encode(&table), &table).unwrap(), listing);
        }
        if let Ok(manifest) = Manifest::decode(&changed(&manifest(&table).encode(&table), &changes), &table) {
            let sizes: u64 = manifest.packs().iter().map(|used| table.get(used.pack).size).sum();
            prop_assert!(sizes <= 3 << 40);
        }
        let _ = Part::decode(&changed(&part(&table).encode("b", &table), &changes), "b", &table);
    }

    #[test]
    fn any_record_is_applied_or_refused(changes in changes(), which in any::<prop::sample::Index>()) {
        let records = records();
        let at = which.index(records.len());
        let mut state = State::default();
        for (number, record) in records.iter().enumerate() {
            let bytes = if number == at { changed(&record.encode(), &changes) } else { record.encode() };
            if let Ok(record) = Record::decode("log/x", &bytes) {
                // The reader has checked this one.
                if record.sequence == number as u64 + 1 {
                    state.follow(record);
                    continue;
                }
            }
            state.skip("damaged".to_owned());
        }
        prop_assert_eq!(state.sequence, records.len() as u64);
        let again: State = serde_json::from_value(serde_json::to_value(&state).unwrap()).unwrap();
        prop_assert_eq!(again.sequence, state.sequence);
    }

    #[test]
    fn an_envelope_with_a_right_hash_around_anything_is_read_or_refused(changes in changes(), encrypted: bool) {
        let secrets = match encrypted {
            true => Secrets::encrypted(Zeroizing::new([3; 32])),
            false => Secrets::plain("r"),
        };
        for compression in [Compression::Zstd(3), Compression::Lz4, Compression::None] {
            let content = b"never green without evidence; ".repeat(20);
            let object = secrets.seal(Kind::Record, "p", &content, compression).unwrap();
            let mut changed = changed(&object[..object.len() - 32], &changes);
            let hash = blake3::Hasher::new().update(b"p\0").update(&changed).finalize();
            changed.extend_from_slice(hash.as_bytes());
            match secrets.unseal(Kind::Record, "p", &changed) {
                Ok(read) => {
                    let is_longer = read.len() > changed.len() - HEADER;
                    prop_assert!(!encrypted || read == content, "encrypted, and another content is accepted");
                    prop_assert!(!is_longer || read.len() <= changed.len() * (32 << 10));
                }
                Err(error) => {
                    let kind = error.kind();
                    prop_assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported), "{error}");
                }
            }
        }
    }

    #[test]
    fn any_compressed_bytes_take_the_memory_that_they_can_fill(body in vec(any::<u8>(), 0..300), length: usize) {
        for way in 0..4 {
            for length in [length, length % (1 << 24), body.len()] {
                let stored = [&[way], &body[..]].concat();
                let mut raw = Vec::new();
                let read = Decompressor::new().unwrap().read(&stored, length, &mut raw);
                prop_assert!(raw.capacity() <= (stored.len() / 4 + 1) * (128 << 10), "{}", raw.capacity());
                prop_assert!(read.is_err() || raw.len() == length);
            }
        }
    }

    #[test]
    fn any_head_of_a_segment_and_any_history_are_judged(
        head in vec(any::<u8>(), 0..64),
        changes in changes(),
        length: u64,
        number: u64,
        size in 20..31_u32,
    ) {
        let segment_size = SegmentSize::new(1 << size).unwrap();
        let cluster = Cluster { system_identifier: SystemIdentifier(number), major: 15, segment_size };
        let name = format!("{:08X}{:08X}{:08X}", number as u32, number >> 32, length as u32);
        if let Some(ArchiveFile::Segment(name)) = ArchiveFile::parse(&name) {
            for length in [length, segment_size.bytes()] {
                let _ = segment::check_header(name, &head, length, &cluster);
            }
        }
        let history = changed(b"1\t0/5000000\tno recovery target\n2\tA/FFFFFFFF\tbefore 2026\n", &changes);
        let _ = History::parse(3, &String::from_utf8_lossy(&history));
        let _ = String::from_utf8_lossy(&history).parse::<Lsn>();
    }
}

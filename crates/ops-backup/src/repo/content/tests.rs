//! What is written is read again; what cannot be is refused.

use super::*;
use crate::repo::catalog::{BackupSource, TreeBackup};
use crate::repo::crypt::BlockHash;
use crate::repo::pack::{Frame, FrameRef, PackRef, PackTable};

fn pack(table: &PackTable, name: u8) -> crate::repo::pack::PackId {
    table.intern(PackRef {
        backup: "b".to_owned(),
        name: [name; 32],
        salt: [name; 16],
        size: 1000,
        raw: 5000,
    })
}

fn piece(table: &PackTable) -> Piece {
    let frame = |name, offset| Frame { pack: pack(table, name), offset, stored: 100, raw: 40_000 };
    let extents = vec![
        Extent { frame: frame(1, 40), skip: 16, blocks: 2 },
        Extent { frame: frame(2, 900), skip: 0, blocks: 1 },
    ];
    let hashes = (0..3).map(|n| BlockHash([n; 16])).collect();
    Piece { length: 2 * BLOCK as u64 + 5, crc32c: 7, extents, hashes }
}

fn file(path: &str, table: &PackTable) -> FileEntry {
    let content = Content::Inline(piece(table));
    FileEntry {
        path: path.to_owned(),
        mode: 0o600,
        modified: 5,
        size: 2 * BLOCK as u64 + 5,
        crc32c: 7,
        content,
    }
}

fn listing(table: &PackTable) -> Listing {
    let frame = FrameRef {
        frame: Frame { pack: pack(table, 3), offset: 0, stored: 9, raw: 9 },
        hash: BlockHash([9; 16]),
    };
    let pieces = vec![PieceRef { frame, uses: vec![(pack(table, 1), 5)] }];
    let large = FileEntry { size: PIECE, content: Content::Pieces(pieces), ..file("base/2", table) };
    let entries = vec![
        Entry::Directory { path: "base".to_owned(), mode: 0o700 },
        Entry::File(file("base/1", table)),
        Entry::File(large),
    ];
    Listing { entries }
}

#[test]
fn what_is_written_is_read_whatever_the_numbers_of_packs_are() {
    let table = PackTable::default();
    let (piece, listing) = (piece(&table), listing(&table));
    let (piece_bytes, listing_bytes) = (piece.encode(&table), listing.encode(&table));
    assert_eq!(Piece::decode(&piece_bytes, &table).unwrap(), piece);
    assert_eq!(Listing::decode(&listing_bytes, &table).unwrap(), listing);
    let elsewhere = PackTable::default();
    pack(&elsewhere, 200);
    let again = Piece::decode(&piece_bytes, &elsewhere).unwrap();
    assert_eq!(again.encode(&elsewhere), piece_bytes);
    let again = Listing::decode(&listing_bytes, &elsewhere).unwrap();
    assert_eq!(
        again.encode(&elsewhere),
        listing_bytes,
        "equal content has equal bytes, whatever else was seen before"
    );

    let source = BackupSource::Tree(TreeBackup {
        name: "n".to_owned(),
        root: "/".into(),
        changed_files: 0,
        changed_examples: Vec::new(),
    });
    let first = FrameRef {
        frame: Frame { pack: pack(&table, 3), offset: 0, stored: 9, raw: 9 },
        hash: BlockHash([9; 16]),
    };
    let listings = vec![ListingRef { first: "base".to_owned(), frame: first, uses: listing.uses() }];
    let manifest = Manifest { backup: "b".to_owned(), source, files: 2, bytes: 3, listings };
    let read = Manifest::decode(&manifest.encode(&table), &table).unwrap();
    assert_eq!((read.listings, read.backup), (manifest.listings.clone(), manifest.backup.clone()));
    let packs: Vec<u8> = manifest.packs().iter().map(|used| table.get(used.pack).name[0]).collect();
    assert_eq!(packs.len(), 3, "data and metadata packs, each once: {packs:?}");
}

#[test]
fn what_cannot_be_is_refused() {
    type Change = fn(&mut FileEntry);
    fn piece(file: &mut FileEntry) -> &mut Piece {
        let Content::Inline(piece) = &mut file.content else { panic!("inline") };
        piece
    }
    let changes: [(&str, Change); 9] = [
        ("holds the path", |file| file.path = "base/../../x".to_owned()),
        ("holds the path", |file| file.path = "/etc/passwd".to_owned()),
        ("outside its pack", |file| piece(file).extents[1].frame.offset = 901),
        ("outside its pack", |file| piece(file).extents[1].blocks = 2),
        ("outside its frame", |file| piece(file).extents[0].skip = 40_000),
        ("of 3 blocks", |file| _ = piece(file).extents.pop()),
        ("2 hashes", |file| _ = piece(file).hashes.pop()),
        ("hashes for", |file| piece(file).length = 1),
        ("bytes of blocks", |file| file.size = 61),
    ];
    let table = PackTable::default();
    for (complaint, change) in changes {
        let mut file = file("base/1", &table);
        change(&mut file);
        let listing = Listing { entries: vec![Entry::File(file)] };
        let error = Listing::decode(&listing.encode(&table), &table).unwrap_err();
        assert!(error.to_string().contains(complaint), "{complaint}: {error}");
    }
    let mut unordered = listing(&table);
    unordered.entries.swap(1, 2);
    assert!(
        Listing::decode(&unordered.encode(&table), &table).unwrap_err().to_string().contains("out of order")
    );
    let bytes = listing(&table).encode(&table);
    for length in 0..bytes.len() - 1 {
        assert!(Listing::decode(&bytes[..length], &table).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn what_a_newer_program_wrote_is_told_from_damage() {
    let table = PackTable::default();
    let newer = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.starts_with("{\"version\":2,"), "{text}");
        // Only the version can be relied on.
        [text.replacen(":2,", ":3,", 1), "{\"version\":3,\"all\":\"else\"}\n{\"type\":\"pipe\"}".to_owned()]
    };
    for bytes in newer(&listing(&table).encode(&table)) {
        assert_eq!(Listing::decode(bytes.as_bytes(), &table).unwrap_err(), Refusal::Newer(3));
    }
    for bytes in &newer(&piece(&table).encode(&table))[..1] {
        assert_eq!(Piece::decode(bytes.as_bytes(), &table).unwrap_err(), Refusal::Newer(3));
    }
    let only = br#"{"version":7}"#;
    let refusals = [
        Listing::decode(only, &table).unwrap_err(),
        Piece::decode(only, &table).unwrap_err(),
        Manifest::decode(only, &table).unwrap_err(),
        Part::decode(only, "b", &table).unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.clone().at("this").kind(), crate::ErrorKind::Unsupported);
        assert!(refusal.to_string().contains("version 7"));
    }
    let with_more =
        r#"{"version":2,"packs":[],"colour":"blue","length":0,"crc32c":0,"extents":[],"hashes":""}"#;
    assert_eq!(
        Piece::decode(with_more.as_bytes(), &table).unwrap(),
        Piece::default(),
        "unknown fields are ignored"
    );
    let pipe = b"{\"version\":2,\"packs\":[],\"entries\":1}\n{\"type\":\"pipe\",\"path\":\"p\"}\n";
    let refusal = Listing::decode(pipe, &table).unwrap_err();
    assert!(refusal.to_string().contains("unknown variant `pipe`"), "{refusal}");
}

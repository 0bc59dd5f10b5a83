//! The small readers of what a server answers.

use super::*;

#[test]
fn versions_and_sizes_are_read_as_servers_show_them() {
    for (text, expected) in [
        ("15.6 (Debian 15.6-0+deb12u1)", Some(150_006)),
        ("18beta1", Some(180_000)),
        ("14.0", Some(140_000)),
        ("", None),
        ("x", None),
    ] {
        assert_eq!(version(text), expected, "{text}");
    }
    for (text, expected) in [
        ("16MB", SegmentSize::new(16 << 20)),
        ("1GB", SegmentSize::new(1 << 30)),
        ("1048576B", SegmentSize::new(1 << 20)),
        ("3MB", None),
        ("16", None),
        ("99999999999MB", None),
        ("16TB", None),
    ] {
        assert_eq!(segment_size(text), expected, "{text}");
    }
    assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
}

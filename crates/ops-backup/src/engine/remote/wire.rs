//! Whether the server compresses what it sends, and how that is found out. Pure.
//!
//! A server does not say what it was built with. A way that it does not know it refuses before it has begun anything, and
//! the session goes on: so the best is tried first.

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::inflate::Method;
use crate::postgres::replication::sqlstate;

/// Whether and how the server compresses what it sends (PostgreSQL 15 and later), at the lowest level, with one of its
/// processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WireCompression {
    /// With zstd, or else LZ4, as the server was built; not at all to the same machine, which a unix socket, a loopback
    /// address and an address of our own lead to.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// With LZ4. The backup fails where the server cannot.
    Lz4,
    /// With Zstandard. The backup fails where the server cannot.
    Zstd,
}

impl WireCompression {
    /// Returns what to try, the best first: each next one where the server does not know the one before.
    pub(super) fn ways(self, version: u32, is_local: bool) -> Result<&'static [Option<Method>]> {
        let explicit = |way: &'static [Option<Method>]| {
            if version >= 150_000 {
                return Ok(way);
            }
            let message = "PostgreSQL 14 cannot compress what it sends (15 and later can)";
            Err(Error::new(ErrorKind::Unsupported, message))
        };
        match self {
            WireCompression::Lz4 => explicit(&[Some(Method::Lz4)]),
            WireCompression::Zstd => explicit(&[Some(Method::Zstd)]),
            WireCompression::Auto if version >= 150_000 && !is_local => {
                Ok(&[Some(Method::Zstd), Some(Method::Lz4), None])
            }
            WireCompression::Auto | WireCompression::None => Ok(&[None]),
        }
    }
}

/// Whether the server says that it does not know a way to compress: no such feature, or a wrong word in the command.
pub(super) fn is_unknown(error: &Error) -> bool {
    matches!(sqlstate(error), Some("0A000" | "42601"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_the_machine_is_compressed_unasked() {
        use WireCompression::{Auto, Lz4, None as Never, Zstd};
        for (wanted, version, is_local, expected) in [
            (Auto, 150_000, false, Some(vec![Some(Method::Zstd), Some(Method::Lz4), None])),
            (Auto, 150_000, true, Some(vec![None])),
            (Auto, 140_000, false, Some(vec![None])),
            (Never, 180_000, false, Some(vec![None])),
            (Lz4, 150_000, true, Some(vec![Some(Method::Lz4)])),
            (Zstd, 150_000, false, Some(vec![Some(Method::Zstd)])),
            (Zstd, 140_000, false, None),
        ] {
            let found = wanted.ways(version, is_local).ok().map(<[_]>::to_vec);
            assert_eq!(found, expected, "{wanted:?} {version} {is_local}");
        }
    }
}

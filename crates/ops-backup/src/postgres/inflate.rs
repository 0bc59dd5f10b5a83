//! What a server compresses before it sends it, made plain again as it comes. Pure.
//!
//! Source: RFC 8878 for Zstandard; the LZ4 frame format 1.6.4, of which the server writes frames without checksums and sizes
//! (`basebackup_lz4.c`). An archive is one frame.
//!
//! The bytes are not to be trusted: at most one window (zstd) or one block (LZ4) is held, and what comes out of it is handed
//! on piece by piece, however much it is. That it is what the server had is for the sums of its manifest to say.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use crate::error::{Error, Result};

/// How the archives are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Lz4,
    Zstd,
}

impl Method {
    /// What the command calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Lz4 => "lz4",
            Method::Zstd => "zstd",
        }
    }

    /// What the names of archives end with.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Method::Lz4 => ".lz4",
            Method::Zstd => ".zst",
        }
    }
}

/// Reads one archive.
pub(crate) enum Inflate {
    Lz4(Lz4),
    Zstd(Zstd),
}

impl Inflate {
    pub(crate) fn new(method: Method) -> Result<Self> {
        Ok(match method {
            Method::Lz4 => Inflate::Lz4(Lz4::default()),
            Method::Zstd => Inflate::Zstd(Zstd::new().map_err(|error| Error::io("prepare zstd", error))?),
        })
    }

    /// Adds the next bytes; all earlier ones have been read, until [`Inflate::next`] gave nothing.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        match self {
            Inflate::Lz4(lz4) => lz4.waiting.extend_from_slice(&bytes),
            Inflate::Zstd(zstd) => {
                debug_assert!(zstd.waiting.is_empty(), "what came before is read");
                zstd.waiting = bytes;
            }
        }
    }

    /// Returns the next plain bytes, never none; `None` where more must come.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are nothing that a server sends.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Inflate::Lz4(lz4) => lz4.next(),
            Inflate::Zstd(zstd) => zstd.next(),
        }
    }

    /// Fails where the archive cannot end here.
    pub(crate) fn end(&self) -> Result<()> {
        let is_ended = match self {
            Inflate::Lz4(lz4) => matches!(lz4.state, State::End),
            Inflate::Zstd(zstd) => zstd.is_ended,
        };
        if is_ended { Ok(()) } else { Err(Error::corrupt("the compressed stream ends within its frame")) }
    }
}

fn behind() -> Error {
    Error::corrupt("the compressed stream goes on behind its frame")
}

/// Zstandard.
pub(crate) struct Zstd {
    decoder: Decoder<'static>,
    waiting: Bytes,
    /// The last piece was as long as it could be: more may lie in the decoder.
    has_more: bool,
    is_ended: bool,
}

impl Zstd {
    /// The largest window, as a power of two. Level 1, which is asked for, has one of 512 KiB.
    const WINDOW_LOG: u32 = 23;
    /// The longest piece.
    const PIECE: usize = 64 << 10;

    fn new() -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(Self::WINDOW_LOG))?;
        Ok(Zstd { decoder, waiting: Bytes::new(), has_more: false, is_ended: false })
    }

    fn next(&mut self) -> Result<Option<Bytes>> {
        while self.has_more || !self.waiting.is_empty() {
            if self.is_ended {
                return Err(behind());
            }
            let mut piece = Vec::with_capacity(Self::PIECE);
            let mut input = InBuffer::around(&self.waiting);
            let mut output = OutBuffer::around(&mut piece);
            let left = self
                .decoder
                .run(&mut input, &mut output)
                .map_err(|error| Error::corrupt("the server sent what is not zstd").with_source(error))?;
            let read = input.pos();
            self.waiting.advance(read);
            self.is_ended = left == 0;
            self.has_more = !self.is_ended && piece.len() == Self::PIECE;
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
        }
        Ok(None)
    }
}

/// LZ4, in its frames.
#[derive(Debug, Default)]
pub(crate) struct Lz4 {
    state: State,
    /// At most one block, and what came with its end.
    waiting: BytesMut,
    /// What a block may refer to: the end of all that was before it.
    before: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Head,
    Blocks {
        longest: usize,
        are_linked: bool,
    },
    End,
}

impl Lz4 {
    const MAGIC: u32 = 0x184D_2204;
    /// How far back a block may refer.
    const REACH: usize = 64 << 10;
    /// Of a block's length: the block is stored as it is.
    const STORED: u32 = 1 << 31;

    fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.state {
                State::Head => {
                    let Some(head) = self.waiting.first_chunk::<7>() else { return Ok(None) };
                    self.state = head_of(*head)?;
                    self.waiting.advance(7);
                }
                State::Blocks { longest, are_linked } => {
                    let Some(length) = self.waiting.first_chunk::<4>() else { return Ok(None) };
                    let length = u32::from_le_bytes(*length);
                    if length == 0 {
                        self.waiting.advance(4);
                        self.state = State::End;
                        continue;
                    }
                    let (stored, length) = (length & Self::STORED != 0, (length & !Self::STORED) as usize);
                    if length > longest {
                        return Err(Error::corrupt("the server sent a block of LZ4 that is too long"));
                    }
                    if self.waiting.len() < 4 + length {
                        return Ok(None);
                    }
                    self.waiting.advance(4);
                    let block = self.waiting.split_to(length).freeze();
                    let plain = if stored { block } else { self.plain(&block, longest)? };
                    if are_linked {
                        self.remember(&plain);
                    }
                    if !plain.is_empty() {
                        return Ok(Some(plain));
                    }
                }
                State::End if self.waiting.is_empty() => return Ok(None),
                State::End => return Err(behind()),
            }
        }
    }

    fn plain(&self, block: &[u8], longest: usize) -> Result<Bytes> {
        let mut plain = vec![0; longest];
        let length = lz4_flex::block::decompress_into_with_dict(block, &mut plain, &self.before);
        let length = length.map_err(|error| {
            Error::corrupt("the server sent what is not LZ4").with_source(io::Error::other(error))
        })?;
        plain.truncate(length);
        Ok(plain.into())
    }

    fn remember(&mut self, plain: &[u8]) {
        let plain = &plain[plain.len().saturating_sub(Self::REACH)..];
        let too_much = (self.before.len() + plain.len()).saturating_sub(Self::REACH);
        self.before.drain(..too_much);
        self.before.extend_from_slice(plain);
    }
}

/// Reads the head of a frame without options. Its last byte, a checksum of two others, says nothing that matters.
fn head_of(head: [u8; 7]) -> Result<State> {
    let [m0, m1, m2, m3, flags, block, _checksum] = head;
    let longest = match block {
        0x40 => 64 << 10,
        0x50 => 256 << 10,
        0x60 => 1 << 20,
        0x70 => 4 << 20,
        _ => 0,
    };
    // Version 1 of the format, and neither checksums nor sizes nor a dictionary.
    let is_known = matches!(flags, 0x40 | 0x60);
    if u32::from_le_bytes([m0, m1, m2, m3]) != Lz4::MAGIC || !is_known || longest == 0 {
        return Err(Error::corrupt("the server sent no frame of LZ4 that a known version sends"));
    }
    Ok(State::Blocks { longest, are_linked: flags == 0x40 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lz4(plain: &[u8], linked: bool, block: usize) -> Vec<u8> {
        let mut frame = Lz4::MAGIC.to_le_bytes().to_vec();
        frame.extend([if linked { 0x40 } else { 0x60 }, 0x40, 0]);
        for (number, piece) in plain.chunks(block).enumerate() {
            let before = &plain[..number * block];
            let before = if linked { &before[before.len().saturating_sub(Lz4::REACH)..] } else { &[] };
            let packed = lz4_flex::block::compress_with_dict(piece, before);
            if packed.len() < piece.len() {
                frame.extend((packed.len() as u32).to_le_bytes());
                frame.extend(packed);
            } else {
                frame.extend((piece.len() as u32 | Lz4::STORED).to_le_bytes());
                frame.extend(piece);
            }
        }
        frame.extend([0; 4]);
        frame
    }

    fn inflate(method: Method, packed: &[u8], chunk: usize) -> Result<Vec<u8>> {
        let (mut inflate, mut plain) = (Inflate::new(method)?, Vec::new());
        for chunk in packed.chunks(chunk) {
            inflate.push(Bytes::copy_from_slice(chunk));
            while let Some(piece) = inflate.next()? {
                assert!(!piece.is_empty() && piece.len() <= 256 << 10);
                plain.extend_from_slice(&piece);
            }
        }
        inflate.end()?;
        Ok(plain)
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at.isqrt() % 251) as u8).collect()
    }

    #[test]
    fn a_frame_is_whole_or_refused() {
        let plain = text(5000);
        for (method, packed) in [
            (Method::Zstd, zstd::bulk::compress(&plain, 1).unwrap()),
            (Method::Lz4, lz4(&plain, true, 900)),
            (Method::Lz4, lz4(&plain, false, 900)),
        ] {
            for cut in 0..packed.len() {
                assert!(inflate(method, &packed[..cut], 64).is_err(), "{method:?} cut to {cut}");
            }
            assert!(inflate(method, &[&packed[..], b"x"].concat(), 64).is_err(), "{method:?}");
            assert!(inflate(method, &[&packed[..], &packed[..]].concat(), 64).is_err(), "{method:?}");
            assert!(inflate(method, &text(5000), 64).is_err(), "{method:?}");
        }
        // A block that claims to be longer than any, and kinds of frame that no server sends.
        let frame = lz4(&plain, true, 900);
        for (at, value) in [(4, 0x44), (4, 0x48), (4, 0x50), (4, 0x41), (4, 0x80), (5, 0x30), (10, 0x70)] {
            let mut frame = frame.clone();
            frame[at] = value;
            assert!(inflate(Method::Lz4, &frame, 64).is_err(), "{at}");
        }
    }

    #[test]
    fn little_that_becomes_much_comes_out_in_pieces() {
        let plain = vec![0; 64 << 20];
        for (method, packed) in [
            (Method::Zstd, zstd::bulk::compress(&plain, 1).unwrap()),
            (Method::Lz4, lz4(&plain, true, 64 << 10)),
        ] {
            assert!(packed.len() < plain.len() / 100, "{}", packed.len());
            assert!(inflate(method, &packed, packed.len()).unwrap() == plain, "{method:?}");
        }
        // A window of 128 MiB is not made.
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(27)).unwrap();
        io::Write::write_all(&mut encoder, &text(1 << 20)).unwrap();
        assert!(inflate(Method::Zstd, &encoder.finish().unwrap(), 1 << 20).is_err());
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out_however_it_is_cut(
            seed in prop::collection::vec(any::<u8>(), 0..3000),
            repeats in 1..60_usize,
            chunk in 1..70_000_usize,
            linked in any::<bool>(),
            block in 100..65_536_usize,
        ) {
            let plain = seed.repeat(repeats);
            let packed = zstd::bulk::compress(&plain, 1).unwrap();
            prop_assert_eq!(&inflate(Method::Zstd, &packed, chunk).unwrap(), &plain);
            prop_assert_eq!(&inflate(Method::Lz4, &lz4(&plain, linked, block), chunk).unwrap(), &plain);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 7..2000), chunk in 1..500_usize) {
            _ = inflate(Method::Zstd, &bytes, chunk);
            bytes[..6].copy_from_slice(&lz4(b"", true, 1)[..6]);
            _ = inflate(Method::Lz4, &bytes, chunk);
        }
    }
}

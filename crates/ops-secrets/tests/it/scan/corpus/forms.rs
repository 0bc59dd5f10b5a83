//! The containers that texts come in.

use super::rng::crc32;
use miniz_oxide::deflate::compress_to_vec;

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    out.extend(compress_to_vec(content, 6));
    out.extend(crc32(content).to_le_bytes());
    out.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    out
}

/// A zip archive of one deflated member.
pub(crate) fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let data = compress_to_vec(content, 6);
    let (crc, packed, size) =
        (crc32(content), u32::try_from(data.len()).unwrap(), u32::try_from(content.len()).unwrap());
    let length = u16::try_from(name.len()).unwrap();
    let mut middle = vec![20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0x58];
    middle.extend([crc, packed, size].iter().flat_map(|number| number.to_le_bytes()));
    middle.extend(length.to_le_bytes());
    middle.extend([0, 0]);
    let mut out = b"PK\x03\x04".to_vec();
    out.extend(&middle);
    out.extend(name.as_bytes());
    out.extend(&data);
    let directory = u32::try_from(out.len()).unwrap();
    out.extend(b"PK\x01\x02\x14\0");
    out.extend(&middle);
    out.extend([0; 14]);
    out.extend(name.as_bytes());
    let end = u32::try_from(out.len()).unwrap();
    out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    out.extend((end - directory).to_le_bytes());
    out.extend(directory.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// A tar archive of one member.
pub(crate) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.extend(content);
    header.resize(512 + content.len().div_ceil(512) * 512 + 1024, 0);
    header
}

pub(crate) fn utf16(text: &str, big: bool, mark: bool) -> Vec<u8> {
    let mark = if mark { "\u{feff}" } else { "" };
    let units = mark.encode_utf16().chain(text.encode_utf16());
    units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

//! The hash of a server's certificate to which SCRAM binds the proof of a password. Pure.
//!
//! Source: RFC 5929, section 4.1 (`tls-server-end-point`): the hash is that of the certificate's own signature, with MD5 and
//! SHA-1 replaced by SHA-256. Where the signature names a hash in its parameters (RSASSA-PSS, RFC 4055), that one is meant,
//! as OpenSSL has it on the server's side.

use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

/// Returns the hash of `certificate` (DER); `None` where its signature is made without a hash of its own, or is unknown.
pub(super) fn hash(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match hash_of_signature(certificate)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

// Object identifiers, without their last number.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
const ECDSA_WITH_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// The first field of the parameters of RSASSA-PSS: which hash.
const HASH_ALGORITHM: u8 = 0xa0;

fn hash_of_signature(certificate: &[u8]) -> Option<Hash> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (_to_be_signed, rest) = element(certificate, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (identifier, parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
    let (last, family) = identifier.split_last()?;
    match (family, *last) {
        // With MD5 and with SHA-1.
        (RSA, 4 | 5) | (ECDSA, 1) => Some(Hash::Sha256),
        (RSA, 10) => hash_of_pss(parameters),
        (RSA, 14) | (ECDSA_WITH_SHA2, 1) => Some(Hash::Sha224),
        (RSA, 11) | (ECDSA_WITH_SHA2, 2) => Some(Hash::Sha256),
        (RSA, 12) | (ECDSA_WITH_SHA2, 3) => Some(Hash::Sha384),
        (RSA, 13) | (ECDSA_WITH_SHA2, 4) => Some(Hash::Sha512),
        _ => None,
    }
}

/// Without a word on it, the hash is SHA-1.
fn hash_of_pss(parameters: &[u8]) -> Option<Hash> {
    let (parameters, _) = element(parameters, SEQUENCE)?;
    if parameters.first() != Some(&HASH_ALGORITHM) {
        return Some(Hash::Sha256);
    }
    let (algorithm, _) = element(parameters, HASH_ALGORITHM)?;
    let (algorithm, _) = element(algorithm, SEQUENCE)?;
    let (identifier, _) = element(algorithm, OBJECT_IDENTIFIER)?;
    if identifier == SHA1 {
        return Some(Hash::Sha256);
    }
    match identifier.split_last()? {
        (1, SHA2) => Some(Hash::Sha256),
        (2, SHA2) => Some(Hash::Sha384),
        (3, SHA2) => Some(Hash::Sha512),
        (4, SHA2) => Some(Hash::Sha224),
        _ => None,
    }
}

/// Takes an element of DER with this tag: its content, and what is behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        // So many bytes of length follow. Nothing here is longer than four bytes can say.
        long @ 0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let length =
            if length < 0x80 { vec![length as u8] } else { vec![0x82, (length >> 8) as u8, length as u8] };
        [&[tag][..], &length, content].concat()
    }

    fn certificate(algorithm: &[&[u8]]) -> Vec<u8> {
        let parts = [der(SEQUENCE, &[7; 300]), der(SEQUENCE, &algorithm.concat()), der(0x03, &[0; 64])];
        der(SEQUENCE, &parts.concat())
    }

    fn identifier(family: &[u8], last: u8) -> Vec<u8> {
        der(OBJECT_IDENTIFIER, &[family, &[last]].concat())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let pss = |parameters: &[u8]| certificate(&[&identifier(RSA, 10), &der(SEQUENCE, parameters)]);
        let pss_with = |hash: Vec<u8>| pss(&der(HASH_ALGORITHM, &der(SEQUENCE, &hash)));
        let plain = |family, last| certificate(&[&identifier(family, last)]);
        for (certificate, expected) in [
            (plain(RSA, 4), Some(Hash::Sha256)),
            (plain(RSA, 5), Some(Hash::Sha256)),
            (plain(RSA, 11), Some(Hash::Sha256)),
            (plain(RSA, 12), Some(Hash::Sha384)),
            (plain(RSA, 13), Some(Hash::Sha512)),
            (plain(RSA, 14), Some(Hash::Sha224)),
            (plain(RSA, 1), None),
            (plain(ECDSA, 1), Some(Hash::Sha256)),
            (plain(ECDSA_WITH_SHA2, 1), Some(Hash::Sha224)),
            (plain(ECDSA_WITH_SHA2, 2), Some(Hash::Sha256)),
            (plain(ECDSA_WITH_SHA2, 3), Some(Hash::Sha384)),
            (plain(ECDSA_WITH_SHA2, 4), Some(Hash::Sha512)),
            (plain(&[0x2b, 0x65], 0x70), None),
            (pss(&[]), Some(Hash::Sha256)),
            (pss_with(der(OBJECT_IDENTIFIER, SHA1)), Some(Hash::Sha256)),
            (pss_with(identifier(SHA2, 1)), Some(Hash::Sha256)),
            (pss_with(identifier(SHA2, 2)), Some(Hash::Sha384)),
            (pss_with(identifier(SHA2, 3)), Some(Hash::Sha512)),
            (pss_with(identifier(SHA2, 9)), None),
        ] {
            assert_eq!(hash_of_signature(&certificate), expected, "{certificate:02x?}");
            for cut in 0..certificate.len() {
                _ = hash_of_signature(&certificate[..cut]);
            }
        }
        assert_eq!(hash(&plain(RSA, 12)).unwrap(), Sha384::digest(plain(RSA, 12)).to_vec());
        assert_eq!(hash_of_signature(&[SEQUENCE, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(hash_of_signature(&[SEQUENCE, 0x80]), None);
    }
}

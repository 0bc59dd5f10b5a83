//! Checksums that issuers put into their tokens: a wrong one proves that bytes are no token.

use crate::scan::rules::Check;

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It is no token.
    No,
    /// It may be one, and less surely than its shape says.
    Weaker,
    /// Nothing speaks against it.
    Fits,
}

/// Checks a token that has its rule's shape.
pub(crate) fn check(check: Check, token: &[u8]) -> Proof {
    let fits = |fits| if fits { Proof::Fits } else { Proof::No };
    match check {
        Check::None => Proof::Fits,
        Check::GithubCrc => fits(token.len() == 40 && crc_of(&token[4..34]) == token[34..]),
        Check::NpmCrc if token.len() != 40 => Proof::No,
        Check::NpmCrc => {
            // The announcement says that there is a checksum, not what it covers.
            let fits = [&token[4..34], &token[..34]].iter().any(|body| crc_of(body) == token[34..]);
            if fits { Proof::Fits } else { Proof::Weaker }
        }
        Check::Bech32 => fits(bech32(token)),
        Check::Wif => fits(wif(token)),
        Check::JsonHead => {
            let start = token.windows(3).position(|window| window == b"eyJ");
            let head = start.and_then(|at| super::decode::base64(&token[at..token.len().min(at + 16)]));
            fits(head.is_some_and(|head| head.starts_with(b"{\"")))
        }
    }
}

/// The CRC-32 of bytes in base 62, six digits.
fn crc_of(body: &[u8]) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32(body);
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// CRC-32 as of ISO 3309; bit by bit, because thirty bytes deserve no table.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let carry = 0_u32.wrapping_sub(crc & 1);
            (crc >> 1) ^ (0xedb8_8320 & carry)
        })
    })
}

/// Bech32 of BIP 173: the six characters at the end make the polynomial 1.
fn bech32(token: &[u8]) -> bool {
    const DIGITS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let lower = token.to_ascii_lowercase();
    let Some(split) = lower.iter().rposition(|byte| *byte == b'1') else { return false };
    let (name, data) = (&lower[..split], &lower[split + 1..]);
    let mut values: Vec<u8> = name.iter().map(|byte| byte >> 5).collect();
    values.push(0);
    values.extend(name.iter().map(|byte| byte & 31));
    for byte in data {
        let Some(value) = DIGITS.iter().position(|digit| digit == byte) else { return false };
        values.push(u8::try_from(value).unwrap_or(0));
    }
    let sum =
        values.into_iter().fold(1_u32, |sum, value| {
            let top = sum >> 25;
            let shifted = ((sum & 0x01ff_ffff) << 5) ^ u32::from(value);
            GENERATOR.iter().enumerate().fold(shifted, |sum, (bit, generator)| {
                if (top >> bit) & 1 == 1 { sum ^ generator } else { sum }
            })
        });
    sum == 1
}

/// The wallet import format: base 58, 37 or 38 bytes, the version byte of the main network.
fn wif(token: &[u8]) -> bool {
    const DIGITS: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes: Vec<u8> = Vec::new();
    for digit in token {
        let Some(mut carry) = DIGITS.iter().position(|known| known == digit) else { return false };
        for byte in &mut bytes {
            carry += usize::from(*byte) * 58;
            *byte = (carry & 0xff) as u8;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.push((carry & 0xff) as u8);
            carry >>= 8;
        }
    }
    matches!(bytes.len(), 37 | 38) && bytes.last() == Some(&0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc_of(b""), *b"000000");
    }

    #[test]
    fn bech32_knows_the_standards_own_examples() {
        // BIP 173, "Test vectors": valid, and invalid in one character.
        assert!(bech32(b"A12UEL5L"));
        assert!(bech32(b"abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"));
        assert!(!bech32(b"A12UEL5Q"));
        assert!(!bech32(b"no-separator"));
    }

    #[test]
    fn a_wrong_digit_is_no_github_token() {
        let body = b"q7Zt9mX2vK4pL8sWq7Zt9mX2vK4pL8";
        let token = |crc: [u8; 6]| [&b"ghp_"[..], body, &crc].concat();
        let right = crc_of(body);
        assert_eq!(check(Check::GithubCrc, &token(right)), Proof::Fits);
        for at in 0..6 {
            let mut wrong = right;
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(check(Check::GithubCrc, &token(wrong)), Proof::No);
            assert_eq!(check(Check::NpmCrc, &[&b"npm_"[..], body, &wrong].concat()), Proof::Weaker);
        }
        assert_eq!(check(Check::NpmCrc, &[&b"npm_"[..], body, &right].concat()), Proof::Fits);
    }

    #[test]
    fn wallets_begin_with_their_version() {
        // The example of the format's own documentation.
        assert!(wif(b"5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ"));
        assert!(!wif(b"5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyT0"));
        assert!(!wif(b"2HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ"));
    }
}

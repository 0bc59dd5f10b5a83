//! The client's side of a log-in by SCRAM (RFC 5802, RFC 7677), without channel binding.
//!
//! Passwords are taken as they stand: SASLprep changes none that is ASCII.

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::num::NonZeroU32;

/// The hash that server and client agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// A log-in that waits for the server's first message.
pub(super) struct First {
    hash: Hash,
    password: String,
    nonce: String,
    bare: String,
}

/// A log-in that waits for the server's proof.
pub(super) struct Last {
    signature: Vec<u8>,
    pub(super) message: String,
}

/// More rounds than this are no security, but a way to keep us busy.
const MOST_ROUNDS: u32 = 1_000_000;

impl First {
    pub(super) fn new(hash: Hash, user: &str, password: &str) -> Self {
        let nonce = BASE64_STANDARD.encode(rand::random::<[u8; 18]>());
        Self::with_nonce(hash, user, password, nonce)
    }

    fn with_nonce(hash: Hash, user: &str, password: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, password: password.to_owned(), bare: format!("n={user},r={nonce}"), nonce }
    }

    /// The first message to the server.
    pub(super) fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Answers the server's first message; none where it is not one.
    pub(super) fn answer(self, server: &str) -> Option<Last> {
        let part = |name: &str| server.split(',').find_map(|part| part.strip_prefix(name));
        let nonce =
            part("r=").filter(|nonce| nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len())?;
        let salt = BASE64_STANDARD.decode(part("s=")?).ok()?;
        let rounds: u32 = part("i=")?.parse().ok().filter(|rounds| *rounds <= MOST_ROUNDS)?;
        let mut salted = vec![0; self.hash.length()];
        pbkdf2::derive(
            self.hash.pbkdf2(),
            NonZeroU32::new(rounds)?,
            &salt,
            self.password.as_bytes(),
            &mut salted,
        );
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{server},{without_proof}", self.bare);
        let client = self.hash.mac(&salted, b"Client Key");
        let stored = digest::digest(self.hash.digest(), &client);
        let signature = self.hash.mac(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client.iter().zip(&signature).map(|(left, right)| left ^ right).collect();
        let server_key = self.hash.mac(&salted, b"Server Key");
        Some(Last {
            signature: self.hash.mac(&server_key, signed.as_bytes()),
            message: format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)),
        })
    }
}

impl Last {
    /// Whether the server has shown that it knows the password too.
    pub(super) fn is_proven(&self, server: &str) -> bool {
        let proof = server.split(',').find_map(|part| part.strip_prefix("v="));
        let proof = proof.and_then(|proof| BASE64_STANDARD.decode(proof).ok());
        proof.is_some_and(|proof| constant_time::verify_slices_are_equal(&proof, &self.signature).is_ok())
    }
}

/// The word by which a server says in its last message that it lets nobody in, as `unknown-user` (RFC 5802, section 7).
pub(super) fn server_error(server: &str) -> Option<&str> {
    server.split(',').find_map(|part| part.strip_prefix("e="))
}

impl Hash {
    fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677_is_answered_alike() {
        let first = First::with_nonce(Hash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(first.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = first.answer(server).expect("an answer");
        assert_eq!(
            last.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(last.is_proven("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!last.is_proven("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5="));
        assert!(!last.is_proven(""));
    }

    #[test]
    fn a_server_that_cheats_gets_no_answer() {
        for server in [
            "r=other,s=W22Z,i=4096",
            "r=abc,s=W22Z,i=4096",
            "r=abcd,s=W22Z,i=0",
            "r=abcd,s=W22Z,i=9999999",
            "r=abcd,i=1",
            "",
        ] {
            let first = First::with_nonce(Hash::Sha512, "user", "pencil", "abc".to_owned());
            assert!(first.answer(server).is_none(), "{server}");
        }
    }
}

//! The server's side of SCRAM (RFC 5802, section 3), for stand-ins: it verifies the client's proof, and proves itself.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::num::NonZeroU32;

const ROUNDS: u32 = 4096;
const SALT: &[u8] = b"a salt of the test";

/// A server that knows one user.
pub(crate) struct Server {
    pub(crate) sha512: bool,
    pub(crate) user: &'static str,
    pub(crate) password: &'static str,
}

/// An exchange whose first half is done.
pub(crate) struct Started<'a> {
    server: &'a Server,
    nonce: String,
    /// What both halves have said, as far as it is signed.
    said: String,
}

impl Server {
    /// Answers the client's first message; none where it is not one, or of a user that nobody knows.
    pub(crate) fn start(&self, message: &str) -> Option<(String, Started<'_>)> {
        let bare = message.strip_prefix("n,,")?;
        let (user, nonce) = bare.strip_prefix("n=")?.split_once(",r=")?;
        let nonce = format!("{nonce}of the server");
        let answer = format!("r={nonce},s={},i={ROUNDS}", STANDARD.encode(SALT));
        let said = format!("{bare},{answer}");
        (user.replace("=2C", ",").replace("=3D", "=") == self.user)
            .then_some((answer, Started { server: self, nonce, said }))
    }

    fn mac(&self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let algorithm = if self.sha512 { hmac::HMAC_SHA512 } else { hmac::HMAC_SHA256 };
        hmac::sign(&hmac::Key::new(algorithm, key), text).as_ref().to_vec()
    }
}

impl Started<'_> {
    /// Answers the client's last message; none where its proof is wrong.
    pub(crate) fn finish(self, message: &str) -> Option<String> {
        let (without, proof) = message.rsplit_once(",p=")?;
        // `biws` is `n,,`: no channel is bound.
        (without == format!("c=biws,r={}", self.nonce)).then_some(())?;
        let server = self.server;
        let (algorithm, hash, length) = match server.sha512 {
            true => (pbkdf2::PBKDF2_HMAC_SHA512, &digest::SHA512, 64),
            false => (pbkdf2::PBKDF2_HMAC_SHA256, &digest::SHA256, 32),
        };
        let mut salted = vec![0; length];
        pbkdf2::derive(algorithm, NonZeroU32::new(ROUNDS)?, SALT, server.password.as_bytes(), &mut salted);
        let said = format!("{},{without}", self.said);
        let client_key = server.mac(&salted, b"Client Key");
        let stored_key = digest::digest(hash, &client_key);
        let signature = server.mac(stored_key.as_ref(), said.as_bytes());
        let expected: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        (STANDARD.decode(proof).ok()? == expected).then_some(())?;
        let server_key = server.mac(&salted, b"Server Key");
        Some(format!("v={}", STANDARD.encode(server.mac(&server_key, said.as_bytes()))))
    }
}

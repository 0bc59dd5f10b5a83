//! Random values from a seed: the same ones on every machine.

/// SplitMix64.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 11) as u8).collect()
    }

    /// A string over an alphabet.
    pub(crate) fn text(&mut self, alphabet: &str, length: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    pub(crate) fn an(&mut self, length: usize) -> String {
        self.text(AN, length)
    }

    pub(crate) fn hex(&mut self, length: usize) -> String {
        self.text("0123456789abcdef", length)
    }

    pub(crate) fn url(&mut self, length: usize) -> String {
        // A dash or an underscore at the end would be a matter of taste.
        format!("{}{}", self.text(&format!("{AN}-_"), length - 1), self.an(1))
    }

    pub(crate) fn b64(&mut self, length: usize) -> String {
        self.text(&format!("{AN}+/"), length)
    }

    pub(crate) fn num(&mut self, length: usize) -> String {
        format!("{}{}", self.text("123456789", 1), self.text("0123456789", length - 1))
    }

    pub(crate) fn low(&mut self, length: usize) -> String {
        self.text("abcdefghijklmnopqrstuvwxyz0123456789", length)
    }

    pub(crate) fn up(&mut self, length: usize) -> String {
        self.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", length)
    }

    pub(crate) fn uuid(&mut self) -> String {
        format!("{}-{}-4{}-a{}-{}", self.hex(8), self.hex(4), self.hex(3), self.hex(3), self.hex(12))
    }

    /// A password as generators make them.
    pub(crate) fn password(&mut self) -> String {
        let length = 10 + self.below(8);
        format!("{}{}{}", self.an(length), self.text("!#%*-+_", 1), self.text("23456789", 2))
    }

    /// A password as people make them: two words, a number, a sign.
    pub(crate) fn human_password(&mut self) -> String {
        const WORDS: [&str; 12] = [
            "Winter", "Falcon", "Pepper", "Rocket", "Garden", "Copper", "Violet", "Thunder", "Marble",
            "Tiger", "Ocean", "Walnut",
        ];
        let (one, two) = (self.pick(&WORDS), self.pick(&WORDS));
        format!("{one}{two}{}{}", self.num(2), self.text("!#%*?", 1))
    }
}

pub(crate) const AN: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

pub(crate) fn base64(bytes: &[u8]) -> String {
    encode(bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", true)
}

pub(crate) fn base64_url(bytes: &[u8]) -> String {
    encode(bytes, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false)
}

fn encode(bytes: &[u8], digits: &[u8; 64], pad: bool) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(digits[(word >> (18 - 6 * digit) & 63) as usize]));
        }
        if pad {
            text.push_str(&"="[..1].repeat(3 - chunk.len()));
        }
    }
    text
}

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

/// GitHub's checksum, as its announcement describes it: CRC-32 in base 62, six digits.
pub(crate) fn github_checksum(body: &str) -> String {
    let digits: Vec<char> =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".chars().collect();
    let mut rest = crc32(body.as_bytes()) as usize;
    let mut text = Vec::new();
    for _ in 0..6 {
        text.push(digits[rest % 62]);
        rest /= 62;
    }
    text.iter().rev().collect()
}

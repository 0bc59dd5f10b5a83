//! A labelled corpus: files with a secret, and files that look as if they had one. All of it is made from a seed, so no
//! token is real and none stands in this repository.
//!
//! A file holds one case. A scanner has found it where it reports anything in the file, so that no scanner is punished for
//! another idea of where a secret begins.

pub(crate) mod forms;
mod negative;
mod positive;
pub(crate) mod rng;
pub(crate) mod tokens;

/// One file.
#[derive(Debug)]
pub(crate) struct Sample {
    /// What kind of case it is.
    pub(crate) family: &'static str,
    /// Its path below the root of the corpus.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
    /// Whether it holds a secret.
    pub(crate) secret: bool,
}

/// The whole corpus.
pub(crate) fn generate(seed: u64) -> Vec<Sample> {
    let mut rng = rng::Rng::new(seed);
    let mut all = positive::samples(&mut rng);
    all.extend(negative::samples(&mut rng));
    for (index, sample) in all.iter_mut().enumerate() {
        sample.path = format!("{}/{index:04}/{}", if sample.secret { "yes" } else { "no" }, sample.path);
    }
    all
}

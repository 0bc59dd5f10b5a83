//! The guardian of a run: this program again, started by itself, without settings, logs or threads for work.
//!
//! It is no command for people: it takes orders from the run that started it, and ends with it.

use ops_gates::{Guardian, stand_guard};
use std::io::BufReader;
use std::process::ExitCode;

/// The one word that makes a guardian of this program.
const WORD: &str = "guardian";

/// The program that stands guard over a run: ourselves, also where our file was replaced meanwhile.
pub(crate) fn ourselves() -> Guardian {
    Guardian { program: "/proc/self/exe".into(), arguments: vec![WORD.into()] }
}

/// Whether this process was started to stand guard.
pub(crate) fn is_asked() -> bool {
    let mut words = std::env::args_os().skip(1);
    words.next().is_some_and(|word| word == WORD) && words.next().is_none()
}

/// Stands guard until there is nothing left to do.
pub(crate) fn stand() -> ExitCode {
    match stand_guard(BufReader::new(std::io::stdin()), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

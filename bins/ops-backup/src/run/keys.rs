//! `key`: the ways into an encrypted repository.

use super::Answered;
use crate::args::KeyAction;
use crate::key;
use crate::render::Answer;
use ops_cli::Exit;

pub(super) fn run(action: KeyAction) -> Answered {
    let answer = match action {
        KeyAction::New { file } => Answer::NewKey(key::create(&file)?),
    };
    Ok((answer, Exit::Done))
}

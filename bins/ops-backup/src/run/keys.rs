//! `key`: the ways into an encrypted repository.

use super::Answered;
use crate::args::KeyAction;
use crate::failed::failed;
use crate::render::Answer;
use crate::settings::BackupSettings;
use crate::{key, open};
use ops_backup::ErrorKind;
use ops_cli::Exit;

pub(super) async fn run(action: KeyAction, settings: &BackupSettings) -> Answered {
    let answer = match action {
        KeyAction::New { file } => Answer::NewKey(key::create(&file)?),
        KeyAction::List => {
            let keys = open::repository(settings).await?.keys().await;
            Answer::Keys(keys.map_err(|error| failed(&error))?)
        }
        KeyAction::Add { new_key_file, new_passphrase_file } => {
            let key = match (new_key_file, new_passphrase_file) {
                (Some(file), _) => key::from_file(&file)?,
                (None, Some(file)) => key::passphrase_from_file(&file)?,
                (None, None) => unreachable!("the command line demands one of the two"),
            };
            let added = open::writable_repository(settings).await?.add_key(&key).await;
            Answer::KeyAdded(added.map_err(|error| failed(&error))?)
        }
        KeyAction::Remove { id } => {
            let repository = open::writable_repository(settings).await?;
            repository.remove_key(&id).await.map_err(|error| match error.kind() {
                ErrorKind::NotFound => failed(&error).hint("`ops-backup key list` shows the keys"),
                ErrorKind::Configuration => failed(&error).hint("`ops-backup key add` adds another way in"),
                _ => failed(&error),
            })?;
            Answer::KeyRemoved(id)
        }
    };
    Ok((answer, Exit::Done))
}

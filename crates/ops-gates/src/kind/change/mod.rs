//! Change control: who approved what, what was written down, and when it may happen.
//!
//! All of it is bound to the released commit. What a gate goes by (who may approve, what was released before) is taken
//! from outside the change: from its base, or from a place that it cannot write.

mod approval;
mod approvers;
mod calendar;
mod changed_files;
mod decision;
mod deployment_log;
mod documents;
mod release_notes;
mod request;
mod rollback;
mod window;
mod words;

pub use approval::{Approval, PathRule};
pub use calendar::{Day, Freeze, Week};
pub use changed_files::ChangedFiles;
pub use decision::Decision;
pub use deployment_log::DeploymentLog;
pub use documents::Documents;
pub use release_notes::ReleaseNotes;
pub use request::{ChangeRequest, Phase};
pub use rollback::RollbackPlan;
pub use window::Window;

//! Where the bytes come from: a working tree, a stream, or the objects of git.

pub(super) mod git;
pub(super) mod history;
pub(super) mod locate;
pub(super) mod tree;

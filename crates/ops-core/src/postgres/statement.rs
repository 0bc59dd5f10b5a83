//! What can be run: a text, or a statement that was judged and prepared before.

use std::sync::Arc;

use tokio_postgres::types::Type;
use tokio_postgres::{Column, Statement};

use crate::guard::Verdict;

/// A statement that was judged and prepared; running it again costs no second look.
#[derive(Clone)]
pub struct GuardedStatement {
    pub(super) statement: Statement,
    pub(super) sql: Arc<str>,
    pub(super) verdict: Arc<Verdict>,
    /// The judge's epoch under which the verdict was given.
    pub(super) epoch: u64,
}

impl GuardedStatement {
    /// Returns the types of the parameters.
    pub fn params(&self) -> &[Type] {
        self.statement.params()
    }

    /// Returns the columns of the answer.
    pub fn columns(&self) -> &[Column] {
        self.statement.columns()
    }

    /// Returns the verdict that let it pass.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

impl std::fmt::Debug for GuardedStatement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedStatement").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

/// What a guarded client can run: a text, or a [`GuardedStatement`].
pub trait ToStatement: sealed::Sealed + Sync {}

impl ToStatement for str {}
impl ToStatement for String {}
impl ToStatement for GuardedStatement {}

pub(super) mod sealed {
    use super::GuardedStatement;

    pub trait Sealed {
        #[doc(hidden)]
        fn source(&self) -> Source<'_>;
    }

    /// The two things that can be run.
    #[derive(Clone, Copy, Debug)]
    pub enum Source<'a> {
        Text(&'a str),
        Statement(&'a GuardedStatement),
    }

    impl<'a> Source<'a> {
        pub(in crate::postgres) fn text(self) -> &'a str {
            match self {
                Self::Text(sql) => sql,
                Self::Statement(prepared) => &prepared.sql,
            }
        }
    }

    impl Sealed for str {
        fn source(&self) -> Source<'_> {
            Source::Text(self)
        }
    }

    impl Sealed for String {
        fn source(&self) -> Source<'_> {
            Source::Text(self)
        }
    }

    impl Sealed for GuardedStatement {
        fn source(&self) -> Source<'_> {
            Source::Statement(self)
        }
    }
}

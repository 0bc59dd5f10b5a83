//! The audit of a line of changes: when everything is read again, pages that by their own word have not changed since the last
//! backup of the line must be what that backup has.
//!
//! A page whose position is older than the checkpoint with which that backup began was on disk by then, and every later
//! change of it gives it a newer position. This holds for the main forks of relations, where pages carry checksums (without
//! them hints change and are not logged), and between copies of the same role: a primary sets hints that its standbys do
//! not have.

use std::sync::{Mutex, PoisonError};

use crate::engine::{Auditor, Facts};
use crate::postgres::lsn::Lsn;
use crate::postgres::page;
use crate::repo::catalog::{Audit, BadPage};

const MAX_EXAMPLES: usize = 100;

/// Compares pages with those of the last backup of a line.
#[derive(Debug)]
pub(super) struct LineAuditor {
    page_size: usize,
    /// Where that backup began.
    start: Lsn,
    audit: Mutex<Audit>,
}

impl LineAuditor {
    pub(super) fn new(backup: &str, start: Lsn, page_size: u32) -> Self {
        let audit =
            Audit { backup: backup.to_owned(), compared_pages: 0, stale_pages: 0, examples: Vec::new() };
        LineAuditor { page_size: page_size as usize, start, audit: Mutex::new(audit) }
    }

    pub(super) fn result(&self) -> Audit {
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        audit.examples.sort_by(|a, b| (&a.file, a.block).cmp(&(&b.file, b.block)));
        audit
    }

    fn is_old(&self, page: &[u8]) -> bool {
        page::position(page).is_some_and(|lsn| lsn < self.start)
    }
}

impl Auditor for LineAuditor {
    fn suspects(&self, path: &str, facts: &Facts, bytes: &[u8]) -> bool {
        let is_main_fork = facts.tag > 0 && !path.rsplit('/').next().unwrap_or(path).contains('_');
        is_main_fork && bytes.chunks_exact(self.page_size).any(|page| self.is_old(page))
    }

    fn compare(&self, path: &str, offset: u64, bytes: &[u8], before: &[u8]) {
        let first = offset / self.page_size as u64;
        let pages = bytes.chunks_exact(self.page_size).zip(before.chunks_exact(self.page_size));
        for (block, (page, before)) in (first..).zip(pages).filter(|(_, (page, _))| self.is_old(page)) {
            let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
            audit.compared_pages += 1;
            if page != before {
                tracing::warn!(file = path, block, "the line of changes has lost a change of this page");
                audit.stale_pages += 1;
                if audit.examples.len() < MAX_EXAMPLES {
                    audit.examples.push(BadPage { file: path.to_owned(), block });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Kind;
    use crate::postgres::page::tests::page;

    const SIZE: usize = 8192;

    #[test]
    fn a_page_that_has_not_changed_must_be_the_same() {
        let auditor = LineAuditor::new("b1", Lsn(100), 8192);
        let facts = Facts { kind: Kind::File, mode: 0, tag: 1, size: 0, modified: 0 };
        let (old, new, empty) = (page(Lsn(99), 0), page(Lsn(100), 0), vec![0; SIZE]);
        let mut other = old.clone();
        other[5000] ^= 1;
        assert!(auditor.suspects("base/5/16384.1", &facts, &[&new[..], &old].concat()));
        for (path, tag, bytes) in [
            ("base/5/16384", 1, [&new[..], &empty].concat()),
            ("base/5/16384", 0, old.clone()),
            ("base/5/16384_vm", 1, old.clone()),
            ("base/5/16384_fsm", 1, old.clone()),
            ("base/5/16384", 1, page(Lsn(0), 0)),
        ] {
            assert!(!auditor.suspects(path, &Facts { tag, ..facts }, &bytes), "{path} {tag}");
        }
        auditor.compare("base/5/1", 2 * SIZE as u64, &[&old[..], &new].concat(), &[&old[..], &old].concat());
        assert_eq!((auditor.result().compared_pages, auditor.result().stale_pages), (1, 0));
        auditor.compare(
            "base/5/1",
            2 * SIZE as u64,
            &[&new[..], &old].concat(),
            &[&old[..], &other].concat(),
        );
        // What the base did not have is not compared.
        auditor.compare("base/5/1", 0, &[&new[..], &old].concat(), &old);
        let audit = auditor.result();
        assert_eq!((audit.compared_pages, audit.stale_pages), (2, 1));
        assert_eq!(audit.examples, [BadPage { file: "base/5/1".to_owned(), block: 3 }]);
    }
}

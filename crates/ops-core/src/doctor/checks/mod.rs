//! The table of checks: one query each, whose rows are the objects concerned and the statements that repair them.
//!
//! Privileges are read from the access lists themselves and never asked for with `has_table_privilege` and its kin: those
//! say yes to everything for a superuser, and then the script for a superuser would leave the rest for the next run.

mod code;
mod health;
mod ownership;
mod privilege;
mod role;
mod setting;

use super::report::Severity;
use super::session::Subject;

/// One thing that is looked for.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    pub(super) title: &'static str,
    pub(super) why: &'static str,
    /// The first major version that has it.
    pub(super) since: i32,
    /// Whether it is about the superuser that the cluster was made with. Nothing else is looked for then.
    pub(super) bootstrap: bool,
    pub(super) query: &'static str,
    /// Gives the objects that the role may not look at, and that are therefore not judged.
    pub(super) blind: Option<&'static str>,
}

impl Check {
    pub(super) const fn refuse(
        id: &'static str,
        title: &'static str,
        why: &'static str,
        query: &'static str,
    ) -> Self {
        Self { id, severity: Severity::Refuse, title, why, since: 0, bootstrap: false, query, blind: None }
    }

    pub(super) const fn warn(
        id: &'static str,
        title: &'static str,
        why: &'static str,
        query: &'static str,
    ) -> Self {
        Self { severity: Severity::Warn, ..Self::refuse(id, title, why, query) }
    }

    const fn since(self, major: i32) -> Self {
        Self { since: major, ..self }
    }

    /// Tells whether the check means anything for this role on this server.
    pub(super) fn concerns(&self, subject: &Subject) -> bool {
        subject.version / 10_000 >= self.since && subject.is_bootstrap == self.bootstrap
    }
}

/// Builds the statement that takes a privilege away, in SQL.
///
/// A superuser revokes in the name of the owner. What somebody else granted with a grant option must be revoked in
/// that role's name; a second run finds that it no longer may, which is as good.
macro_rules! revoke {
    ($owner:literal, $statement:expr) => {
        concat!(
            "CASE WHEN x.grantor = ",
            $owner,
            " THEN ",
            $statement,
            " ELSE format('DO $guard$ BEGIN SET LOCAL ROLE %I; %s; RESET ROLE; \
               EXCEPTION WHEN insufficient_privilege THEN NULL; END $guard$', pg_get_userbyid(x.grantor), ",
            $statement,
            ") END"
        )
    };
}
use revoke;

/// Every check that is one query, in the order in which the fixes have to run: ownership before privileges, because a change of
/// owner moves the owner's entries in the access lists.
pub(super) const ALL: &[Check] = &[
    role::BOOTSTRAP,
    role::SUPERUSER,
    ownership::OWNER,
    role::BYPASS_RLS,
    role::CREATE_ROLE,
    role::CREATE_DATABASE,
    role::REPLICATION,
    role::PREDEFINED_ROLE,
    role::PRIVILEGED_MEMBERSHIP,
    ownership::OWNER_MEMBERSHIP,
    setting::WEAKENING,
    setting::PARAMETER,
    privilege::SYSTEM_CATALOG,
    privilege::RESTRICTED_FUNCTION,
    privilege::CREATE_IN_DATABASE,
    privilege::CREATE_IN_SCHEMA,
    privilege::TRUNCATE,
    privilege::TRIGGER,
    privilege::REFERENCES,
    privilege::MAINTAIN,
    code::DEFINER_UNPINNED,
    code::DEFINER_PUBLIC,
    code::TRUSTED_NATIVE_LANGUAGE,
    code::UNTRUSTED_FUNCTION,
    code::DANGEROUS_EXTENSION,
    privilege::FOREIGN_SERVER,
    privilege::USER_MAPPING,
    code::DEFINER_GRANTED,
    privilege::CREATE_IN_OTHER_SCHEMA,
    privilege::UNTRUSTED_SEARCH_PATH,
    privilege::DEFAULT_TABLE_PRIVILEGES,
    privilege::PUBLIC_CONNECT,
    privilege::PUBLIC_TEMPORARY,
    code::PUBLIC_EXECUTE_DEFAULT,
    code::NO_EVENT_TRIGGER,
    setting::NO_STATEMENT_TIMEOUT,
    setting::NO_LOCK_TIMEOUT,
    setting::NO_IDLE_TIMEOUT,
    setting::PASSWORD_NOT_SCRAM,
    setting::NO_TLS,
    setting::SERVER_TOO_NEW,
    setting::TWO_PHASE_ENABLED,
    health::PREPARED_TRANSACTIONS,
    health::INVALID_INDEX,
    health::NO_PRIMARY_KEY,
    health::SEQUENCE_NEAR_END,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn identifiers_are_unique_and_in_kebab_case() {
        let mut known = BTreeSet::new();
        for check in ALL {
            assert!(known.insert(check.id), "{}", check.id);
            assert!(check.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", check.id);
            assert!(!check.title.ends_with('.') && check.why.ends_with('.'), "{}", check.id);
        }
    }

    #[test]
    fn what_refuses_is_repaired_before_what_warns() {
        assert!(ALL.is_sorted_by_key(|check| check.severity));
    }
}

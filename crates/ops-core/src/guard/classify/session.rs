//! Session, transaction and server state: SET, BEGIN, PREPARE, LISTEN, LOCK, LOAD, CHECKPOINT.

use super::super::catalog::Oid;
use super::super::effect::{Effect, LOCK_MODES, Reach};
use super::super::parse::ast::a_const::Val;
use super::super::parse::ast::node::Node as NodeEnum;
use super::super::parse::{NodeRef, ast};
use super::{Descend, Walker};

impl<'a> Walker<'a, '_> {
    pub(super) fn session(&mut self, node: NodeRef<'a>, name: &'static str) -> Descend {
        match node {
            NodeRef::VariableSetStmt(set) => self.set(set),
            NodeRef::TransactionStmt(transaction) => {
                self.add(transaction_effect(transaction), transaction.location)
            }
            NodeRef::ConstraintsSetStmt(set) if !set.deferred => Descend::No,
            NodeRef::ConstraintsSetStmt(_) => self.setting("constraints", Reach::Session),
            NodeRef::DiscardStmt(_) => self.setting("discard", Reach::Escape),
            NodeRef::DeallocateStmt(_) => self.setting("deallocate", Reach::Escape),
            // What it prepares is judged here, as if it ran; EXECUTE names it only.
            NodeRef::PrepareStmt(_) => self.setting("prepare", Reach::Session),
            NodeRef::ExecuteStmt(_) => self.add(Effect::DynamicCode { construct: "EXECUTE".into() }, -1),
            NodeRef::NotifyStmt(_) | NodeRef::ListenStmt(_) | NodeRef::UnlistenStmt(_) => {
                self.add(Effect::Notification, -1)
            }
            NodeRef::LockStmt(lock) => self.lock(lock),
            NodeRef::LoadStmt(_) => self.add(Effect::External { construct: "LOAD".into() }, -1),
            NodeRef::CheckPointStmt(_) => self.add(Effect::Cluster { construct: "CHECKPOINT".into() }, -1),
            _ => self.opaque(name),
        }
    }

    fn setting(&mut self, name: &str, reach: Reach) -> Descend {
        self.add(Effect::Setting { name: name.to_owned(), reach }, -1)
    }

    fn set(&mut self, set: &'a ast::VariableSetStmt) -> Descend {
        let name = set.name.to_lowercase();
        match set.kind() {
            // SET TRANSACTION, SET SESSION CHARACTERISTICS, SET TRANSACTION SNAPSHOT.
            ast::VariableSetKind::VarSetMulti => {
                self.add(Effect::TransactionControl { action: "SET TRANSACTION" }, set.location)
            }
            // RESET ALL has no name, and undoes what the guard has set.
            ast::VariableSetKind::VarResetAll => self.setting("all", Reach::Escape),
            // Back to a default that may be laxer than the guard's: like a value that is not known.
            ast::VariableSetKind::VarReset
            | ast::VariableSetKind::VarSetDefault
            | ast::VariableSetKind::VarSetCurrent => {
                let reach = reach(&name, None);
                self.add(Effect::Setting { name, reach }, set.location)
            }
            ast::VariableSetKind::VarSetValue => {
                let value = match set.args.as_slice() {
                    [value] => constant(value),
                    _ => None,
                };
                let reach = reach(&name, value.as_deref());
                self.add(Effect::Setting { name, reach }, set.location)
            }
            ast::VariableSetKind::Undefined => self.opaque("VariableSetStmt"),
        };
        Descend::No
    }

    fn lock(&mut self, lock: &'a ast::LockStmt) -> Descend {
        let mode = usize::try_from(lock.mode)
            .ok()
            .and_then(|mode| LOCK_MODES.get(mode))
            .copied()
            .unwrap_or("UNKNOWN");
        for relation in &lock.relations {
            if let Some(NodeEnum::RangeVar(table)) = relation.node.as_ref() {
                let (name, found) = self.relation_named(table);
                self.add(Effect::LockTable { table: name, mode }, table.location);
                self.lock_below(found, mode, table.location);
            }
        }
        Descend::No
    }
}

impl Walker<'_, '_> {
    /// Locking a view or a partitioned table locks what is below it.
    fn lock_below(&mut self, relation: Option<Oid>, mode: &'static str, location: i32) {
        let Some((names, oid)) = self.reading.names.zip(relation) else { return };
        for below in names.catalog.below(oid).into_iter().filter(|below| *below != oid) {
            if let Some(relation) = names.catalog.relation(below) {
                self.add(Effect::LockTable { table: relation.title.clone(), mode }, location);
            }
        }
    }
}

fn transaction_effect(transaction: &ast::TransactionStmt) -> Effect {
    use ast::TransactionStmtKind as Kind;

    let action = match transaction.kind() {
        Kind::TransStmtBegin | Kind::TransStmtStart => "BEGIN",
        Kind::TransStmtCommit => "COMMIT",
        Kind::TransStmtRollback => "ROLLBACK",
        Kind::TransStmtSavepoint => "SAVEPOINT",
        Kind::TransStmtRelease => "RELEASE",
        Kind::TransStmtRollbackTo => "ROLLBACK TO",
        // A prepared transaction outlives its session, with its locks.
        Kind::TransStmtPrepare => return Effect::Cluster { construct: "PREPARE TRANSACTION".into() },
        Kind::TransStmtCommitPrepared => return Effect::Cluster { construct: "COMMIT PREPARED".into() },
        Kind::TransStmtRollbackPrepared => return Effect::Cluster { construct: "ROLLBACK PREPARED".into() },
        Kind::Undefined => return Effect::Opaque { node: "TransactionStmt" },
    };
    Effect::TransactionControl { action }
}

/// How far a setting reaches, when it is set to this value; no value means that the text does not tell.
pub(super) fn reach(name: &str, value: Option<&str>) -> Reach {
    match name {
        "application_name"
        | "timezone"
        | "datestyle"
        | "intervalstyle"
        | "extra_float_digits"
        | "bytea_output"
        | "client_min_messages"
        | "default_text_search_config"
        | "lc_messages"
        | "lc_monetary"
        | "lc_numeric"
        | "lc_time"
        | "random_page_cost"
        | "jit"
        | "xmloption"
        | "gin_fuzzy_search_limit" => Reach::Harmless,
        // A limit may be set, not lifted. Zero means no limit.
        "statement_timeout"
        | "lock_timeout"
        | "idle_in_transaction_session_timeout"
        | "transaction_timeout" => {
            let is_limit = value.is_some_and(|value| {
                value
                    .trim_start_matches(|first: char| !first.is_ascii_digit())
                    .starts_with(|first: char| first != '0')
                    && !value.trim_start().starts_with('-')
            });
            if is_limit { Reach::Harmless } else { Reach::Escape }
        }
        // The values that the client relies on anyway.
        "client_encoding" | "names"
            if value.is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "utf8" | "utf-8")) =>
        {
            Reach::Harmless
        }
        "standard_conforming_strings" if value.is_some_and(|value| value.eq_ignore_ascii_case("on")) => {
            Reach::Harmless
        }
        "client_encoding"
        | "names"
        | "standard_conforming_strings"
        | "backslash_quote"
        | "escape_string_warning"
        | "role"
        | "session_authorization"
        | "session_replication_role"
        | "row_security"
        | "event_triggers"
        | "transaction_read_only"
        | "default_transaction_read_only"
        | "transaction_isolation"
        | "transaction_deferrable"
        | "allow_system_table_mods"
        | "zero_damaged_pages"
        | "ignore_checksum_failure"
        | "ignore_system_indexes"
        | "track_counts"
        | "session_preload_libraries"
        | "local_preload_libraries"
        | "dynamic_library_path"
        | "check_function_bodies"
        | "lo_compat_privileges"
        | "createrole_self_grant"
        | "(computed)" => Reach::Escape,
        _ => Reach::Session,
    }
}

fn constant(node: &ast::Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            Val::Sval(text) => Some(text.sval.clone()),
            Val::Ival(number) => Some(number.ival.to_string()),
            Val::Fval(number) => Some(number.fval.clone()),
            Val::Boolval(value) => Some(value.boolval.to_string()),
            Val::Bsval(_) => None,
        },
        _ => None,
    }
}

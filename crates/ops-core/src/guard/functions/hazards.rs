//! The functions whose call is an effect of its own, by name.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a call does beyond computing a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guard) enum Hazard {
    /// Runs SQL given as text, which no parser of the statement sees.
    DynamicCode,
    /// Leaves the database: files, programs, the network, other servers.
    External,
    /// Changes or ends other sessions, replication, WAL, statistics: the whole cluster.
    Cluster,
    /// Writes or deletes large objects, which no table's rules protect.
    LargeObject,
    /// Takes the next value of a sequence.
    SequenceAdvance,
    /// Moves a sequence, perhaps backwards. Not undone by a rollback.
    SequenceReset,
    /// Takes or gives back an advisory lock.
    AdvisoryLock,
    /// Sends a notification.
    Notification,
}

use Hazard::{
    AdvisoryLock, Cluster, DynamicCode, External, LargeObject, Notification, SequenceAdvance, SequenceReset,
};

/// By the whole name; with a schema where the name alone is an everyday word.
const NAMES: &[(Hazard, &str)] = &[
    (
        DynamicCode,
        "query_to_xml query_to_xml_and_xmlschema query_to_xmlschema cursor_to_xml cursor_to_xmlschema ts_stat ts_rewrite \
         connectby xpath_table cron.schedule cron.schedule_in_database cron.alter_job cron.unschedule",
    ),
    (
        External,
        "lo_import lo_export http http_get http_post http_put http_patch http_delete http_head net.http_get \
         net.http_post net.http_delete pg_stat_file pg_current_logfile pg_hba_file_rules pg_ident_file_mappings pg_show_all_file_settings \
         postgres_fdw_disconnect postgres_fdw_disconnect_all aws_s3.query_export_to_s3 \
         aws_s3.table_import_from_s3 aws_lambda.invoke",
    ),
    (
        Cluster,
        "pg_terminate_backend pg_cancel_backend pg_reload_conf pg_rotate_logfile pg_rotate_logfile_old pg_promote pg_switch_wal \
         pg_switch_xlog pg_create_restore_point pg_backup_start pg_backup_stop pg_start_backup pg_stop_backup \
         pg_wal_replay_pause pg_wal_replay_resume pg_import_system_collations pg_log_backend_memory_contexts \
         pg_log_standby_snapshot pg_sync_replication_slots pg_copy_logical_replication_slot pg_copy_physical_replication_slot \
         pg_create_logical_replication_slot pg_create_physical_replication_slot pg_drop_replication_slot \
         pg_replication_slot_advance pg_extension_config_dump pg_nextoid pg_stop_making_pinned_objects \
         pg_stat_clear_snapshot pg_stat_force_next_flush heap_force_kill heap_force_freeze pg_truncate_visibility_map \
         brin_desummarize_range brin_summarize_new_values brin_summarize_range gin_clean_pending_list \
         pg_restore_relation_stats pg_restore_attribute_stats pg_clear_relation_stats pg_clear_attribute_stats \
         pg_set_relation_stats",
    ),
    (
        LargeObject,
        "lo_unlink lo_put lowrite lo_write lo_truncate lo_truncate64 lo_from_bytea lo_create lo_creat lo_open lo_close loread \
         lo_lseek lo_lseek64 lo_tell lo_tell64 lo_manage",
    ),
    (SequenceAdvance, "nextval"),
    (SequenceReset, "setval"),
    (Notification, "pg_notify"),
];

/// By the beginning of the name.
const PREFIXES: &[(Hazard, &str)] = &[
    (DynamicCode, "table_to_xml"),
    (DynamicCode, "schema_to_xml"),
    (DynamicCode, "database_to_xml"),
    (DynamicCode, "crosstab"),
    (External, "dblink"),
    (External, "pg_read_"),
    (External, "pg_ls_"),
    (External, "pg_file_"),
    (Cluster, "pg_stat_reset"),
    (Cluster, "pg_stat_statements_reset"),
    (Cluster, "pg_replication_origin_"),
    (Cluster, "pg_logical_"),
    (Cluster, "binary_upgrade_"),
    (AdvisoryLock, "pg_advisory_"),
    (AdvisoryLock, "pg_try_advisory_"),
];

type Meant = (Option<&'static str>, Hazard);

/// The names without their schema, each with the schemas in which it is meant; no schema means any.
static BY_NAME: LazyLock<HashMap<&str, Vec<Meant>>> = LazyLock::new(|| {
    let mut by_name: HashMap<&str, Vec<Meant>> = HashMap::new();
    for (hazard, names) in NAMES {
        for name in names.split_ascii_whitespace() {
            let (schema, name) =
                name.split_once('.').map_or((None, name), |(schema, name)| (Some(schema), name));
            by_name.entry(name).or_default().push((schema, *hazard));
        }
    }
    by_name
});

/// Returns what a call of this function does beyond computing, where that is known.
///
/// The schema is none where the statement does not name one.
pub(in crate::guard) fn hazard(schema: Option<&str>, name: &str) -> Option<Hazard> {
    let meant = BY_NAME.get(name).into_iter().flatten();
    meant
        .filter(|(known, _)| known.is_none() || *known == schema)
        .map(|(_, hazard)| *hazard)
        .next()
        .or_else(|| PREFIXES.iter().find(|(_, prefix)| name.starts_with(prefix)).map(|(hazard, _)| *hazard))
}

/// As [`hazard`], for a name that is more likely a field of a row: only the names that nobody gives to a field count.
pub(in crate::guard) fn built_in_hazard(name: &str) -> Option<Hazard> {
    hazard(None, name).filter(|_| name != "http")
}

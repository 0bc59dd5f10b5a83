//! The settings of a restored server: those that lock it down, and those that a caller may change. Data only.

/// What a restored copy must never do: listen, archive, replicate, run the commands of the original, or reach out.
///
/// They go on the command line, which is stronger than `postgresql.auto.conf` of the restored cluster.
pub(super) const LOCKED: &[(&str, &str)] = &[
    ("data_directory", "data"),
    ("config_file", "postgresql.conf"),
    ("hba_file", "pg_hba.conf"),
    ("ident_file", "pg_ident.conf"),
    ("external_pid_file", "../postgres.pid"),
    ("listen_addresses", ""),
    // Relative to the data directory: an absolute path would need the quoting of a list.
    ("unix_socket_directories", "../run"),
    ("unix_socket_permissions", "0700"),
    ("port", "5432"),
    ("ssl", "off"),
    ("archive_mode", "off"),
    ("archive_cleanup_command", ""),
    ("recovery_end_command", ""),
    ("recovery_target_action", "pause"),
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    ("synchronous_standby_names", ""),
    ("max_logical_replication_workers", "0"),
    ("wal_level", "replica"),
    ("hot_standby", "on"),
    ("restart_after_crash", "off"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_min_messages", "warning"),
    ("log_line_prefix", "%m [%p] "),
    ("lc_messages", "C"),
];

/// What suits a short-lived copy beside other work; a caller may choose otherwise.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    ("shared_buffers", "128MB"),
    ("huge_pages", "off"),
    ("autovacuum", "off"),
    ("shared_preload_libraries", ""),
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
];

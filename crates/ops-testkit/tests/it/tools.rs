//! Programs are found, copied where the server's user can run them, and missing ones are named.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use ops_testkit::{ErrorKind, TestUser, bin_dir, bin_exe, public_copy};

#[test]
fn a_missing_major_is_not_installed() {
    let error = bin_dir(3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotInstalled);
    assert!(error.to_string().starts_with("PostgreSQL 3 is not installed (installed: ["), "{error}");
}

#[test]
fn a_missing_binary_names_the_command_that_builds_it() {
    let error = bin_exe("no-such-binary").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotBuilt);
    assert!(error.to_string().contains("--bin no-such-binary"), "{error}");
}

#[test]
fn a_copy_can_be_executed_by_the_server_user_and_follows_changes() {
    let private = tempfile::tempdir().unwrap();
    fs::set_permissions(private.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let program = private.path().join("program");
    let user = TestUser::find().unwrap();
    for answer in ["one", "two"] {
        fs::write(&program, format!("#!/bin/sh\necho {answer}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let copy = public_copy(&program).unwrap();
        assert_eq!(public_copy(&program).unwrap(), copy, "an unchanged program is not copied again");
        let mut command = Command::new(copy);
        user.apply(command.current_dir("/"));
        assert_eq!(command.output().unwrap().stdout, format!("{answer}\n").into_bytes());
    }
    let link = private.path().join("other-name");
    std::os::unix::fs::symlink(&program, &link).unwrap();
    assert!(public_copy(&link).unwrap().ends_with("other-name"));
}

#[test]
fn a_reachable_program_is_not_copied() {
    // It is a link on most systems, and is called by this name.
    let shell = Path::new("/bin/sh");
    assert_eq!(public_copy(shell).unwrap(), shell);
}

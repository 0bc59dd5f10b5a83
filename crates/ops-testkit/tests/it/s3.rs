//! A disposable S3 server does what its documentation says.

use std::fs;
use std::process::Command;

use ops_testkit::{S3, is_running, or_skip, skip};

#[test]
fn objects_are_stored_for_the_right_key_only() {
    let s3 = or_skip!(S3::start());
    if Command::new("curl").arg("--version").output().is_err() {
        skip!("curl is not installed");
    }
    let body = s3.dir().join("body");
    fs::write(&body, "hello").unwrap();
    let object = |bucket: &str| format!("{}/{bucket}/folder/object", s3.endpoint());
    let curl = |key: &str, arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--aws-sigv4", &format!("aws:amz:{}:s3", s3.region())]);
        curl.args(["--user", key]).args(arguments);
        let output = curl.output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let key = format!("{}:{}", s3.access_key(), s3.secret_key());
    let body = body.to_str().unwrap();
    for _ in 1..=2 {
        s3.create_bucket("another").unwrap();
    }
    for bucket in [s3.bucket(), "another"] {
        assert!(curl(&key, &["--upload-file", body, &object(bucket)]).is_some(), "{bucket}");
        assert_eq!(curl(&key, &[&object(bucket)]).as_deref(), Some("hello"), "{bucket}");
        assert_eq!(curl(&format!("{}:wrong", s3.access_key()), &[&object(bucket)]), None);
    }

    let listeners = Command::new("ss").args(["-ltnpH"]).output().unwrap();
    let listeners = String::from_utf8(listeners.stdout).unwrap();
    let own: Vec<_> = listeners.lines().filter(|l| l.contains(&format!("pid={},", s3.pid()))).collect();
    assert_eq!(own.len(), 8, "{own:#?}");
    assert!(own.iter().all(|line| line.contains(" 127.0.0.1:")), "{own:#?}");

    let (pid, dir) = (s3.pid(), s3.dir().to_owned());
    drop(s3);
    assert!(!is_running(pid) && !dir.exists());
}

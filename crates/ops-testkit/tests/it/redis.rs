//! A disposable Redis does what its documentation says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use ops_testkit::{ErrorKind, Redis, is_running, or_skip};

#[test]
fn it_answers_with_its_password_only() {
    let redis = or_skip!(Redis::start());
    assert_eq!(redis.command(&["PING"]).unwrap(), "PONG");
    assert_eq!(redis.command(&["SET", "key", "two\r\nlines"]).unwrap(), "OK");
    assert_eq!(redis.command(&["GET", "key"]).unwrap(), "two\r\nlines");
    assert_eq!(redis.command(&["GET", "other"]).unwrap(), "");
    assert_eq!(redis.command(&["INCR", "n"]).unwrap(), "1");
    let error = redis.command(&["INCR", "key"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Command);
    assert!(redis.url().starts_with("redis://:re%25dis%20%27"), "{}", redis.url());

    let mut stranger = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    stranger.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    stranger.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"-NOAUTH");
    assert!(redis.socket().exists());
}

#[test]
fn settings_count_and_data_survives_a_kill() {
    let durable = [("appendonly", "yes"), ("appendfsync", "always")];
    let builder = durable.iter().fold(Redis::builder(), |builder, (k, v)| builder.setting(*k, *v));
    let mut redis = or_skip!(builder.start());
    redis.command(&["SET", "key", "value"]).unwrap();
    redis.kill();
    assert!(!is_running(redis.pid()));
    redis.restart().unwrap();
    assert_eq!(redis.command(&["GET", "key"]).unwrap(), "value");
    let (pid, dir) = (redis.pid(), redis.dir().to_owned());
    drop(redis);
    assert!(!is_running(pid) && !dir.exists());
}

//! x
#![allow(clippy::all, unused)]
use ops_secrets::*;
use std::io::Write;
use std::time::Instant;
fn main() {
    let m = Masker::new();
    let secrets: Vec<String> =
        (0..80).map(|i| format!("k{:x}Zq{:x}", i * 7919 + 13, i * 104729 + 77777)).collect();
    let t = Instant::now();
    m.register_all(secrets.iter().map(|s| ("n", s.as_str())));
    println!("{m:?} register {:?}", t.elapsed());
    let line = format!(
        "{{\"timestamp\":\"2026-11-21T06:00:00.000000Z\",\"level\":\"INFO\",\"message\":\"{}\",\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}}",
        "a request was served in 12 ms from the pool ".repeat(4)
    );
    let mut v = line.clone().into_bytes();
    for (name, hit) in [("miss", false), ("hit", true)] {
        let base = if hit { line.replace("12 ms", &secrets[3]) } else { line.clone() }.into_bytes();
        let n = 200_000;
        let t = Instant::now();
        for _ in 0..n {
            v.clear();
            v.extend_from_slice(&base);
            m.mask(&mut v);
        }
        println!("{name} {} bytes: {:?}", base.len(), t.elapsed() / n);
        let mut w = MaskingWriter::new(std::io::sink(), m.clone());
        let t = Instant::now();
        for _ in 0..n {
            w.write_all(&base).unwrap();
        }
        println!("stream {name}: {:?}", t.elapsed() / n);
    }
    let few = Masker::new();
    few.register_all(secrets[..5].iter().map(|s| ("n", s.as_str())));
    let t = Instant::now();
    let base = line.clone().into_bytes();
    for _ in 0..200_000 {
        v.clear();
        v.extend_from_slice(&base);
        few.mask(&mut v);
    }
    println!("{few:?} miss {:?}", t.elapsed() / 200_000);
    let pem = "-----BEGIN PRIVATE KEY-----\n".to_owned()
        + &"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj/+\n".repeat(25);
    let t = Instant::now();
    few.register("pem", &pem);
    println!("pem {:?} {few:?}", t.elapsed());
    let t = Instant::now();
    few.register("big", &"\"x\\'y%é\n1234567".repeat(1000));
    println!("15KB nasty {:?} {few:?}", t.elapsed());
    #[derive(serde::Deserialize)]
    struct S {
        a: T,
        b: T,
        c: T,
    }
    #[derive(serde::Deserialize)]
    struct T {
        a: String,
        b: u16,
        c: bool,
        d: Secret,
        e: Vec<String>,
        f: Option<u32>,
        g: String,
        h: String,
        i: String,
        j: u64,
    }
    let tbl = "a='x'\nb=1\nc=true\nd='hunter2'\ne=['a']\ng='a'\nh='b'\ni='c'\nj=1\n";
    let d = format!("[a]\n{tbl}[b]\n{tbl}[c]\n{tbl}");
    let t = Instant::now();
    for _ in 0..100 {
        Loader::<S>::new().defaults_toml(&d).env_vars("OPS_", std::env::vars_os()).load().unwrap();
    }
    println!("load 30 settings {:?}", t.elapsed() / 100);
}

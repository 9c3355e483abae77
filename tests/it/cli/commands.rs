//! Help, usage, configuration, `check`.

use std::{
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::ffi::OsStrExt,
    process::{Command, Stdio},
};

use clap::ValueEnum;
use inferq::cli::{SchemaName, schema};

use super::*;

const COMMANDS: [&[&str]; 15] = [
    &[],
    &["serve"],
    &["check"],
    &["score"],
    &["send"],
    &["topology"],
    &["topology", "declare"],
    &["topology", "export"],
    &["dead"],
    &["dead", "list"],
    &["dead", "show"],
    &["dead", "replay"],
    &["dead", "purge"],
    &["config"],
    &["schema"],
];

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in COMMANDS {
        let done = run(&[command, &["--help"]].concat());
        assert_eq!(done.code, 0, "{command:?}");
        let inner = matches!(command, ["topology", _]);
        let example = done.out.contains("Example");
        assert!(example || inner, "{command:?}: {}", done.out);
        assert!(
            done.out.lines().all(|line| line.len() <= 120),
            "{}",
            done.out
        );
    }
}

#[test]
fn bad_usage_is_64() {
    run(&[]).failed(64, &["Usage: inferq"]);
    run(&["serv"]).failed(64, &["'serve'"]);
    run(&["send", "fraud", "--rate", "0"]).failed(64, &["above 0"]);
    run(&["send", "fraud", "--timeout", "inf"]).failed(64, &["above 0"]);
    run(&["send", "fraud", "--concurrency", "0"]).failed(64, &["--concurrency"]);
    run(&["send", &"p".repeat(300)]).failed(64, &["300 bytes", "1 to 255"]);
    run(&["topology", "export", "--package", "retry"]).failed(64, &["reserved for inferq's own"]);
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let many = "{}\n".repeat(20_000);
    for (args, input) in [
        (&["--help"][..], ""),
        (&["schema", "package"], ""),
        (&["config", "print"], ""),
        (&["score", &package("fraud"), "-"], many.as_str()),
    ] {
        let mut command = inferq(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let done = Done::of(&child.wait_with_output().unwrap());
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn a_standard_error_that_nobody_reads_is_no_panic() {
    let mut child = inferq(&["check", "/nowhere"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(65));
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_and_secrets_are_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let (file, secret) = (dir.path().join("a.toml"), dir.path().join("url"));
    fs::write(
        &file,
        "[intake]\npoison_deliveries = 3\ndrain_timeout_s = 7\n",
    )
    .unwrap();
    fs::write(&secret, "amqp://me:hunter2@broker.example/%2f\n").unwrap();
    let mut command = inferq(&["config", "print", "--config", file.to_str().unwrap()]);
    command
        .env("INFERQ__INTAKE__POISON_DELIVERIES", "4")
        .env("INFERQ__BROKER__URL_FILE", &secret)
        .env("SOMETHING_ELSE", OsStr::from_bytes(b"\xff"));
    let done = Done::of(&command.output().unwrap());
    assert_eq!(done.code, 0, "{}", done.err);
    let parsed: toml::Table = done.out.parse().unwrap();
    assert_eq!(parsed["intake"]["poison_deliveries"].as_integer(), Some(4));
    assert_eq!(parsed["intake"]["drain_timeout_s"].as_integer(), Some(7));
    let url = parsed["broker"]["url"].as_str();
    assert_eq!(url, Some("amqp://me:***@broker.example/%2f"));
}

#[test]
fn the_file_in_the_working_directory_is_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("config")).unwrap();
    fs::write(
        dir.path().join("config/inferq.toml"),
        "[intake]\npoison_delivery = 1\n",
    )
    .unwrap();
    let mut command = inferq(&["config", "print"]);
    let done = Done::of(&command.current_dir(dir.path()).output().unwrap());
    done.failed(
        64,
        &[
            "config/inferq.toml: there is no setting intake.poison_delivery",
            "did you mean intake.poison_deliveries?",
        ],
    );
}

fn configured(key: &str, value: &OsStr) -> Done {
    let mut command: Command = inferq(&["config", "print"]);
    Done::of(&command.env(key, value).output().unwrap())
}

#[test]
fn a_wrong_setting_is_named_with_its_mend() {
    for (key, value, parts) in [
        (
            "INFERQ__ADMIN__ADR",
            "x",
            &["admin.adr", "did you mean INFERQ__ADMIN__ADDR?"][..],
        ),
        (
            "INFERQ__BROKR__URL",
            "x",
            &["did you mean INFERQ__BROKER__URL?"],
        ),
        (
            "INFERQ__ADMIN__ADDR",
            "here",
            &["admin.addr", "an IP address and a port"],
        ),
        (
            "INFERQ__BROKER__PREFETCH",
            "5000",
            &["broker.prefetch: found 5000, expected 1 to 2000"],
        ),
        (
            "INFERQ__INTAKE__POISON_DELIVERIES",
            "0",
            &["intake.poison_deliveries: found 0, expected 1 to 19"],
        ),
        ("INFERQ__BROKER__TOPOLOGY", "pasive", &["pasive", "passive"]),
        (
            "INFERQ__BROKER__URL",
            "http://h",
            &["broker.url", "amqp://user:password@host:port/vhost"],
        ),
        (
            "INFERQ__BROKER__URL_FILE",
            "/nowhere/url",
            &["INFERQ__BROKER__URL_FILE: file /nowhere/url"],
        ),
    ] {
        configured(key, OsStr::new(value)).failed(64, parts);
    }
    let bytes = OsStr::from_bytes(b"\xff");
    configured("INFERQ__BROKER__URL", bytes).failed(64, &["INFERQ__BROKER__URL", "UTF-8"]);
    run(&["config", "print", "--config", "/nowhere.toml"]).failed(64, &["/nowhere.toml"]);
}

#[test]
fn a_configuration_that_cannot_be_read_does_not_give_the_password_away() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    for text in [
        "[broker]\nurl = \"amqp://me:hunter2@h\n",
        "[broker]\nurl = amqp://me:hunter2@h\n",
    ] {
        fs::write(&file, text).unwrap();
        let done = run(&["config", "print", "--config", file.to_str().unwrap()]);
        done.failed(64, &["line 2 is not valid TOML"]);
        assert!(!done.err.contains("hunter2"), "{}", done.err);
    }
    for (url, reason) in [
        ("amqps:me:hunter2@h/", "names no host"),
        ("me:hunter2@h", "does not start with amqp://"),
        ("amqp:me:hunter2@h/", "names no host"),
        ("amqp://me:5672/hunter2@h", "@ as %40"),
    ] {
        let done = configured("INFERQ__BROKER__URL", OsStr::new(url));
        done.failed(
            64,
            &[reason, "expected amqp://user:password@host:port/vhost"],
        );
        assert!(!done.err.contains("hunter2"), "{}", done.err);
    }
}

#[test]
fn what_the_system_said_is_said_once() {
    let absent = "No such file or directory";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let filter = "inferq=loud";
    for (done, reason) in [
        (run(&["config", "print", "--config", "/nowhere"]), absent),
        (
            configured("INFERQ__BROKER__URL_FILE", OsStr::new("/nowhere")),
            absent,
        ),
        (
            configured("INFERQ__TELEMETRY__LOG_FILTER", OsStr::new(filter)),
            "error parsing level filter",
        ),
        (
            run(&[
                "serve",
                "--repository",
                "/nowhere",
                "--admin-addr",
                "127.0.0.1:0",
            ]),
            absent,
        ),
        (
            run(&["serve", "--admin-addr", &taken]),
            "Address already in use",
        ),
    ] {
        done.failed(64, &[]);
        assert_eq!(done.err.matches(reason).count(), 1, "{}", done.err);
    }
}

#[test]
fn schemas_are_printed() {
    for name in ["rejection", "package", "config", "status"] {
        let done = run(&["schema", name]);
        let printed: Value = serde_json::from_str(&done.out).unwrap();
        let name = SchemaName::from_str(name, false).unwrap();
        assert_eq!(printed, schema(name));
    }
}

#[test]
fn a_good_package_is_checked_with_its_digest() {
    let done = run(&["check", &package("fraud")]);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(
        done.out.contains("fraud@1.0.0 is fit to go live"),
        "{}",
        done.out
    );
    assert!(done.out.contains("digest sha256:"), "{}", done.out);
}

#[test]
fn every_fault_of_a_broken_package_is_explained_and_the_code_is_65() {
    let packages = Packages::of(&[]);
    let dir = packages.changed("fraud", "deadline_ms", "deadlin_ms");
    let done = run(&["check", dir.to_str().unwrap()]);
    done.failed(65, &["1 fault", "does not go live"]);
    for part in ["package.toml: ", "deadlin_ms", "deadline_ms"] {
        assert!(done.out.contains(part), "no {part} in {}", done.out);
    }
    let done = run(&["check", "/nowhere"]);
    done.failed(65, &["/nowhere"]);
}

use super::*;

fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, ConfigFault> {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let unique = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!(
        "inferq-config-{}-{unique}.toml",
        std::process::id()
    ));
    std::fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(k, v)| ((*k).into(), (*v).into()));
    let flags: Vec<_> = flags
        .iter()
        .map(|(k, v)| (*k, Some((*v).to_owned())))
        .collect();
    let config = Config::load(Some(&path), environment, &flags);
    std::fs::remove_file(path).unwrap();
    config
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let file =
        "[repository]\ndir = 'a'\n[admin]\naddr = '127.0.0.1:1'\n[runtime]\nlibrary = 'x.so'";
    let environment = [
        ("INFERQ__ADMIN__ADDR", "127.0.0.1:2"),
        ("INFERQ__REPOSITORY__DIR", "b"),
    ];
    let config = load(file, &environment, &[("repository.dir", "c")]).unwrap();
    assert_eq!(config.runtime.library.as_deref(), Some(Path::new("x.so")));
    assert_eq!(config.admin.addr.port(), 2);
    assert_eq!(config.repository.dir, Path::new("c"));
}

#[test]
fn a_typo_names_the_nearest_key() {
    let fault = load("[repositroy]\ndir = 'a'", &[], &[])
        .unwrap_err()
        .to_string();
    assert!(
        fault.contains("repositroy") && fault.contains("did you mean repository?"),
        "{fault}"
    );
    let fault = load("", &[("INFERQ__ADMIN__ADR", "x")], &[])
        .unwrap_err()
        .to_string();
    assert!(fault.contains("did you mean addr?"), "{fault}");
}

#[test]
fn a_secret_may_stand_in_a_file_and_is_never_printed() {
    let secret = std::env::temp_dir().join(format!("inferq-secret-{}", std::process::id()));
    std::fs::write(&secret, "amqp://me:hunter2@127.0.0.1:5672/%2f\n").unwrap();
    let file = format!("[broker]\nurl_file = '{}'", secret.display());
    let printed = load(&file, &[], &[]).unwrap().print().unwrap();
    assert!(
        !printed.contains("hunter2") && printed.contains("127.0.0.1"),
        "{printed}"
    );
    let both = format!("{file}\nurl = 'amqp://a'");
    assert!(
        load(&both, &[], &[])
            .unwrap_err()
            .to_string()
            .contains("both given")
    );
    let flag = load(&file, &[], &[("broker.url", "amqp://127.0.0.2")])
        .unwrap()
        .print()
        .unwrap();
    assert!(flag.contains("127.0.0.2"), "{flag}");
    std::fs::remove_file(secret).unwrap();
}

use super::*;

/// Loads a file of its own, which the faults call `FILE`.
fn read(
    file: &[u8],
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    std::fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(k, v)| ((*k).into(), (*v).into()));
    let flags: Vec<_> = flags
        .iter()
        .map(|(k, v)| (*k, Some((*v).to_owned())))
        .collect();
    let config = Config::load(Some(&path), environment, &flags);
    config.map_err(|fault| fault.to_string().replace(path.to_str().unwrap(), "FILE"))
}

fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Config, String> {
    read(file.as_bytes(), environment, flags)
}

#[track_caller]
fn refused_file(file: &str, text: &str) {
    assert_eq!(load(file, &[], &[]).unwrap_err(), text);
}

#[track_caller]
fn refused_variable(name: &str, value: &str, text: &str) {
    assert_eq!(load("", &[(name, value)], &[]).unwrap_err(), text);
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
fn text_that_reads_as_a_number_is_text_where_text_is_expected() {
    for value in ["2024", "1.5", "true", "[a]", "'a'"] {
        let config = load("", &[("INFERQ__REPOSITORY__DIR", value)], &[]).unwrap();
        assert_eq!(config.repository.dir, Path::new(value));
        let config = load("", &[], &[("repository.dir", value)]).unwrap();
        assert_eq!(config.repository.dir, Path::new(value));
    }
    let config = load("", &[("INFERQ__BROKER__PREFETCH", "64")], &[]).unwrap();
    assert_eq!(config.broker.prefetch, 64);
}

#[test]
fn a_setting_that_does_not_exist_is_named_with_its_place_and_the_nearest_that_does() {
    refused_file(
        "[repositroy]\ndir = 'a'",
        "FILE: there is no section repositroy; did you mean repository.dir?",
    );
    refused_file(
        "[intake]\nretry_delay_ms = 1",
        "FILE: there is no setting intake.retry_delay_ms; did you mean intake.retry_delays_ms?",
    );
    refused_file(
        "prefetch = 3",
        "FILE: there is no section prefetch; did you mean broker.prefetch?",
    );
    refused_file(
        "[else]",
        "FILE: there is no section else; there are broker, repository, runtime, appetite, intake, duplicates, admin, telemetry",
    );
    refused_variable(
        "INFERQ__ADMIN__ADR",
        "x",
        "INFERQ__ADMIN__ADR: there is no setting admin.adr; did you mean INFERQ__ADMIN__ADDR?",
    );
    refused_variable(
        "INFERQ__PREFETCH",
        "3",
        "INFERQ__PREFETCH: there is no section prefetch; did you mean INFERQ__BROKER__PREFETCH?",
    );
    refused_variable(
        "INFERQ__ADMIN__COLOUR",
        "red",
        "INFERQ__ADMIN__COLOUR: there is no setting admin.colour; admin has addr",
    );
    refused_variable(
        "INFERQ__ADMIN",
        "127.0.0.1:1",
        "INFERQ__ADMIN: admin is a section, expected a setting in it, one of addr",
    );
}

#[test]
fn a_value_that_does_not_fit_is_named_with_its_place_and_its_mend() {
    refused_file(
        "[broker]\nprefetch = 'many'",
        "FILE: broker.prefetch: found \"many\", expected a whole number from 1 to 2000; write it in digits, without quotes",
    );
    refused_file(
        "broker = 3",
        "FILE: broker: found a value, expected a section of settings; write them below [broker]",
    );
    refused_file(
        "[repository]\ndir = 2024",
        "FILE: repository.dir: found 2024, expected text; put it in quotes",
    );
    refused_variable(
        "INFERQ__BROKER__PREFETCH",
        "70000",
        "INFERQ__BROKER__PREFETCH: broker.prefetch: found 70000, expected 1 to 2000; choose a value in this range",
    );
    refused_variable(
        "INFERQ__BROKER__TOPOLOGY",
        "pasive",
        "INFERQ__BROKER__TOPOLOGY: broker.topology: found \"pasive\", expected declare or passive; choose one of them",
    );
    refused_variable(
        "INFERQ__RUNTIME__LIBRARY",
        "",
        "INFERQ__RUNTIME__LIBRARY: runtime.library: found an empty text, expected some text; write it, or leave the setting out for its default",
    );
    let address = "admin.addr: found \"localhost:9090\", expected an IP address and a port; write them as in 127.0.0.1:9090, or 0.0.0.0:9090 for every interface";
    let fault = load("", &[], &[("admin.addr", "localhost:9090")]).unwrap_err();
    assert_eq!(fault, format!("command line: {address}"));
    refused_variable(
        "INFERQ__ADMIN__ADDR",
        "localhost:9090",
        &format!("INFERQ__ADMIN__ADDR: {address}"),
    );
}

#[test]
fn a_variable_with_one_underscore_is_refused_and_what_kubernetes_sets_is_not() {
    for (name, meant) in [
        ("INFERQ_BROKER__PREFETCH", "INFERQ__BROKER__PREFETCH"),
        ("INFERQ_BROKER_PREFETCH", "INFERQ__BROKER__PREFETCH"),
        ("INFERQ_PREFETCH", "INFERQ__BROKER__PREFETCH"),
        ("INFERQ_BROKER_URL_FILE", "INFERQ__BROKER__URL_FILE"),
    ] {
        let fault = load("", &[(name, "3")], &[]).unwrap_err();
        assert!(fault.starts_with(&format!("{name}: ")), "{fault}");
        assert!(
            fault.ends_with(&format!("did you mean {meant}?")),
            "{fault}"
        );
    }
    let fault = load("", &[("INFERQ_BROKR__PREFETCH", "3")], &[]).unwrap_err();
    assert!(fault.contains("two underscores"), "{fault}");
    let kubernetes = [
        ("INFERQ_SERVICE_HOST", "10.0.0.1"),
        ("INFERQ_PORT", "tcp://10.0.0.1:9090"),
        ("INFERQ_ADMIN_PORT_9090_TCP_ADDR", "10.0.0.1"),
    ];
    load("", &kubernetes, &[]).unwrap();
}

#[test]
fn a_file_that_is_no_text_is_not_called_unreadable() {
    let fault = read(b"[broker]\n# caf\xe9\n", &[], &[]).unwrap_err();
    assert_eq!(
        fault,
        "FILE: line 2: found bytes that are not UTF-8, expected text; save the file as UTF-8"
    );
}

#[test]
fn a_log_filter_that_serve_would_refuse_is_refused_at_once() {
    for filter in ["info,,=", "inferq=loud"] {
        let variable = ("INFERQ__TELEMETRY__LOG_FILTER", filter);
        let fault = load("", &[variable], &[]).unwrap_err();
        let start = format!(
            "{}: telemetry.log_filter: found {filter:?}, expected",
            variable.0
        );
        assert!(fault.starts_with(&start), "{fault}");
    }
}

#[test]
fn a_secret_may_stand_in_a_file_and_is_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("url");
    std::fs::write(&secret, "amqp://me:hunter2@127.0.0.1:5672/%2f\n").unwrap();
    let secret = secret.to_str().unwrap();
    let file = format!("[broker]\nurl_file = '{secret}'");
    let printed = load(&file, &[], &[]).unwrap().print().unwrap();
    assert!(
        !printed.contains("hunter2") && printed.contains("127.0.0.1"),
        "{printed}"
    );
    for (environment, flags) in [
        (&[("INFERQ__BROKER__URL", "amqp://127.0.0.2")][..], &[][..]),
        (&[], &[("broker.url", "amqp://127.0.0.2")]),
    ] {
        let printed = load(&file, environment, flags).unwrap().print().unwrap();
        assert!(printed.contains("127.0.0.2"), "{printed}");
    }
}

#[test]
fn a_secret_given_twice_in_one_layer_is_refused_whatever_the_order() {
    refused_file(
        "[broker]\nurl_file = '/nowhere'\nurl = 'amqp://a'",
        "broker.url (FILE) and broker.url_file (FILE) are both given; keep one",
    );
    let url = ("INFERQ__BROKER__URL", "amqp://a");
    let file = ("INFERQ__BROKER__URL_FILE", "/nowhere");
    for environment in [[url, file], [file, url]] {
        assert_eq!(
            load("", &environment, &[]).unwrap_err(),
            "INFERQ__BROKER__URL and INFERQ__BROKER__URL_FILE are both given; keep one"
        );
    }
}

#[test]
fn an_empty_file_of_a_secret_is_refused_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("url");
    std::fs::write(&secret, "\n").unwrap();
    let variable = ("INFERQ__BROKER__URL_FILE", secret.to_str().unwrap());
    let fault = load("", &[variable], &[]).unwrap_err();
    assert!(fault.contains("found an empty file"), "{fault}");
}

#[test]
fn a_secret_of_a_wrong_type_is_not_shown() {
    let fault = load("[broker]\nurl = ['amqp://me:hunter2@h']", &[], &[]).unwrap_err();
    assert!(fault.contains("found a value of type array"), "{fault}");
    assert!(!fault.contains("hunter2"), "{fault}");
}

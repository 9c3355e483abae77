//! `schemas/` and `config/inferq.toml` are what the Rust types say, and what is read and written fits them.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use inferq::{
    cli::{SchemaName, schema},
    config::Config,
    message::{
        problem::Problem,
        rejection::{Code, Rejection, Stage},
    },
};
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::worker::samples;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: SchemaName) -> PathBuf {
    let name = name.to_possible_value().unwrap();
    root().join(format!("schemas/{}.schema.json", name.get_name()))
}

fn pretty(schema: &Value) -> String {
    serde_json::to_string_pretty(schema).unwrap() + "\n"
}

/// What `value` violates of the schema `name`.
pub(crate) fn misfits(name: SchemaName, value: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&schema(name)).unwrap();
    let errors = validator.iter_errors(value);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn toml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap()
}

#[test]
fn the_committed_schemas_are_what_the_types_say() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    for name in SchemaName::value_variants() {
        let (file, expected) = (file(*name), pretty(&schema(*name)));
        if update {
            std::fs::write(&file, &expected).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == expected,
            "{} is stale; `make schemas` refreshes it",
            file.display()
        );
    }
}

#[test]
fn every_schema_is_valid_and_says_what_it_is() {
    for name in SchemaName::value_variants() {
        let schema = schema(*name);
        let errors = jsonschema::draft202012::meta::validate(&schema);
        assert!(errors.is_ok(), "{name:?}: {errors:?}");
        let id = name.to_possible_value().unwrap().get_name().to_owned();
        assert_eq!(schema["$id"], format!("urn:inferq:schema:{id}:1"));
        for key in ["title", "description"] {
            assert!(schema[key].as_str().is_some_and(|text| !text.is_empty()));
        }
    }
}

#[test]
fn every_rejection_code_fits_its_schema_and_nothing_else_does() {
    let codes = [
        Code::MalformedMessage,
        Code::UnsupportedMediaType,
        Code::RequestTooLarge,
        Code::UnknownPackage,
        Code::UnknownVersion,
        Code::InvalidRequest,
        Code::Unrepresentable,
        Code::Package {
            code: "blank_image".into(),
            retryable: false,
        },
        Code::DeadlineExceeded,
        Code::Overloaded,
        Code::ResultTooLarge,
        Code::DependencyFault,
        Code::ModelFault,
        Code::InternalFault,
    ];
    for code in codes {
        let rejection = Rejection::new(code, Stage::Decode, "why").at("/amount", "there");
        let problem = Problem::new(&rejection, Some("id"), Some("fraud"), Some("1.0.0"));
        let mut problem = serde_json::to_value(problem).unwrap();
        assert_eq!(misfits(SchemaName::Rejection, &problem), [""; 0]);
        for (key, wrong) in [("stage", "elsewhere"), ("code", "no_such_code")] {
            let right = std::mem::replace(&mut problem[key], wrong.into());
            assert_ne!(misfits(SchemaName::Rejection, &problem), [""; 0]);
            problem[key] = right;
        }
    }
}

#[test]
fn the_sample_packages_fit_the_schema_of_manifests() {
    for name in ["digits", "diagnosis", "fraud"] {
        let mut manifest = toml(&samples().join(name).join("1.0.0/package.toml"));
        assert_eq!(misfits(SchemaName::Package, &manifest), [""; 0], "{name}");
        manifest["batch"]["max_sise"] = 3.into();
        assert_ne!(misfits(SchemaName::Package, &manifest), [""; 0], "{name}");
    }
}

#[test]
fn the_configuration_file_is_exactly_the_defaults() {
    let path = root().join("config/inferq.toml");
    let parsed = Config::load(Some(&path), [], &[]).unwrap();
    let default = Config::default();
    assert_eq!(parsed.print().unwrap(), default.print().unwrap());
    let url = |config: &Config| config.broker.url.expose_secret().to_owned();
    assert_eq!(url(&parsed), url(&default));
    assert_eq!(misfits(SchemaName::Config, &toml(&path)), [""; 0]);
}

#[test]
fn the_configuration_file_names_and_explains_every_key() {
    let text = std::fs::read_to_string(root().join("config/inferq.toml")).unwrap();
    let schema = schema(SchemaName::Config);
    let mut missing = Vec::new();
    for (section, keys) in schema["properties"].as_object().unwrap() {
        let Some((above, below)) = text.split_once(&format!("\n[{section}]\n")) else {
            missing.push(section.clone());
            continue;
        };
        assert!(above.lines().last().unwrap().starts_with("# "), "{section}");
        let lines: Vec<&str> = below.lines().take_while(|l| !l.starts_with('[')).collect();
        for key in keys["properties"].as_object().unwrap().keys() {
            let given = format!("{key} = ");
            let names = |line: &&str| line.trim_start_matches("# ").starts_with(&given);
            match lines.iter().position(names) {
                Some(at) if at > 0 && lines[at - 1].starts_with("# ") => {}
                _ => missing.push(format!("{section}.{key}")),
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not named or not explained: {missing:?}"
    );
}

#[test]
fn a_secret_in_a_file_fits_the_schema_of_the_configuration() {
    let config = serde_json::json!({ "broker": { "url_file": "/run/secrets/url" } });
    assert_eq!(misfits(SchemaName::Config, &config), [""; 0]);
    let config = serde_json::json!({ "broker": { "url_fil": "/run/secrets/url" } });
    assert_ne!(misfits(SchemaName::Config, &config), [""; 0]);
    let config = serde_json::json!({ "broker": { "prefetch": 5000 } });
    assert_ne!(misfits(SchemaName::Config, &config), [""; 0]);
}

//! Ways to break the other files of a package, and the package as a whole.

use super::*;

pub(super) const TOML: &str = "package.toml";
const REQUEST: &str = "request.schema.json";
const RESPONSE: &str = "response.schema.json";
const FIRST: &str = "golden/first.json";
const SECOND: &str = "golden/second.json";
const ASKED: &str = "\"request\": { \"amount\": 1.5, \"currency\": \"EUR\" }";

/// What replaces what in a file, and the fault that it gives there: `(way, file, from, to, key, words)`.
const EDITS: [[&str; 6]; 21] = [
    [
        "a schema that is not JSON",
        REQUEST,
        "\"type\": \"object\",",
        "\"type\": \"object\"",
        "line 4, column 3",
        "not JSON",
    ],
    [
        "a schema that is not a schema",
        REQUEST,
        "\"number\"",
        "\"nmber\"",
        "/properties/amount/type",
        "did you mean \"number\"?",
    ],
    [
        "a schema of another draft",
        REQUEST,
        "2020-12",
        "2019-09",
        "/$schema",
        "rewrite the schema for 2020-12",
    ],
    [
        "a reference to elsewhere",
        REQUEST,
        "\"#/$defs/currency\"",
        "\"https://example.com/c.json\"",
        "/properties/currency/$ref",
        "copy what it refers to into `$defs`",
    ],
    [
        "a reference to nothing",
        REQUEST,
        "\"#/$defs/currency\"",
        "\"#/$defs/curency\"",
        "/properties/currency/$ref",
        "mend the reference",
    ],
    [
        "a reference to no anchor",
        REQUEST,
        "\"#/$defs/currency\"",
        "\"#currency\"",
        "",
        "correct what stands there",
    ],
    [
        "a reference to itself",
        RESPONSE,
        "\"enum\"",
        "\"$ref\": \"#/properties/verdict\", \"enum\"",
        "/properties/verdict/$ref",
        "let one of the schemas on the way say what it is",
    ],
    [
        "a pattern that is none",
        REQUEST,
        "^[A-Z]{3}$",
        "^[A-Z{3}$",
        "/$defs/currency/pattern",
        "expected a regular expression",
    ],
    [
        "a pattern that goes back",
        REQUEST,
        "^[A-Z]{3}$",
        "^(?=EU)[A-Z]{3}$",
        "/$defs/currency/pattern",
        "it must run in linear time",
    ],
    [
        "a pattern beyond measure",
        REQUEST,
        "^[A-Z]{3}$",
        "(a{1000}){1000}",
        "/$defs/currency/pattern",
        "of moderate size",
    ],
    [
        "an unknown key",
        FIRST,
        "\"request\"",
        "\"tolerence\": 1, \"request\"",
        "/tolerence",
        "did you mean \"tolerance\"?",
    ],
    [
        "an example without answer",
        SECOND,
        "\"rejection\"",
        "\"content_type\"",
        "",
        "write \"outcome\": {…}, or \"rejection\": \"package:<code>\"",
    ],
    [
        "an example without request",
        FIRST,
        ASKED,
        "\"tolerance\": 0",
        "",
        "write \"request\": {…}, or \"picture\": \"file.png\"",
    ],
    [
        "a content type without picture",
        SECOND,
        "\"rejection\"",
        "\"content_type\"",
        "/content_type",
        "take content_type away",
    ],
    [
        "a request that the schema forbids",
        FIRST,
        "1.5",
        "-1.5",
        "/request/amount",
        "expected a number of at least 0, found a smaller one; mend the example, or the schema",
    ],
    [
        "an outcome that the schema forbids",
        FIRST,
        "0.75",
        "1.75",
        "/outcome/score",
        "expected a number of at most 1, found a greater one; mend the example, or the schema",
    ],
    [
        "a rejection that is not declared",
        SECOND,
        "needs_human",
        "needs_humans",
        "/rejection",
        "did you mean \"package:needs_human\"?",
    ],
    [
        "a picture elsewhere",
        FIRST,
        ASKED,
        "\"picture\": \"../a.png\"",
        "/picture",
        "put the picture into golden/",
    ],
    [
        "a tolerance of everything",
        FIRST,
        "\"request\"",
        "\"tolerance\": 1e9, \"request\"",
        "/tolerance",
        "expected a number of at most 1; correct the value",
    ],
    [
        "a schema with a byte order mark",
        REQUEST,
        "{\n  \"$schema\"",
        "\u{feff}{\n  \"$schema\"",
        "",
        "without a byte order mark",
    ],
    [
        "a negative tolerance",
        FIRST,
        "\"request\"",
        "\"tolerance\": -1, \"request\"",
        "/tolerance",
        "expected a number of at least 0; correct the value",
    ],
];

#[test]
fn every_way_to_break_a_schema_or_an_example_is_explained() {
    let mut unexplained = Vec::new();
    for [way, file, from, to, key, words] in EDITS {
        let folder = Folder::valid();
        folder.edit(file, from, to);
        let faults = folder.read().expect_err(way);
        if !has(&faults, file, key, words) || faults.len() > 2 {
            let told: Vec<_> = faults.iter().map(|f| format!("\n    {f}")).collect();
            unexplained.push(format!("{way}{}", told.concat()));
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
}

#[test]
fn a_missing_file_is_asked_for() {
    for file in [TOML, REQUEST, RESPONSE, "model.onnx"] {
        let folder = Folder::valid();
        folder.remove(file);
        let faults = folder.read().unwrap_err();
        expect(
            &faults,
            file,
            "",
            "found nothing, expected a file; add the file",
        );
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
    let folder = Folder::valid();
    folder.edit(FIRST, ASKED, "\"picture\": \"a.png\"");
    expect(
        &folder.read().unwrap_err(),
        "golden/a.png",
        "",
        "add the file",
    );
}

#[test]
fn a_file_with_nearly_the_right_name_is_pointed_at() {
    let folder = Folder::valid();
    fs::rename(
        folder.dir.join("model.onnx"),
        folder.dir.join("modell.onnx"),
    )
    .unwrap();
    let faults = folder.read().unwrap_err();
    expect(
        &faults,
        "model.onnx",
        "",
        "rename \"modell.onnx\", or add the file",
    );
}

#[test]
fn a_model_of_another_name_is_pointed_at_with_the_key_that_names_it() {
    let folder = Folder::valid();
    let (from, to) = ("model.onnx", "xgb_2024_07.onnx");
    fs::rename(folder.dir.join(from), folder.dir.join(to)).unwrap();
    let faults = folder.read().unwrap_err();
    let words = "write model = \"xgb_2024_07.onnx\" in package.toml, or add the file";
    expect(&faults, "model.onnx", "", words);
}

#[test]
fn examples_that_would_be_passed_over_are_faults() {
    let folder = Folder::valid();
    fs::create_dir(folder.dir.join("golden/sub")).unwrap();
    fs::create_dir(folder.dir.join("golden/pictures")).unwrap();
    for file in [
        "sub/x.json",
        "x.JSON",
        "x.jsn",
        "pictures/a.png",
        "README.md",
        ".x.json",
    ] {
        folder.write(&format!("golden/{file}"), "{}");
    }
    let faults = folder.read().unwrap_err();
    for file in ["golden/sub/x.json", "golden/x.JSON", "golden/x.jsn"] {
        expect(
            &faults,
            file,
            "",
            "expected an example as golden/<name>.json",
        );
    }
    assert_eq!(faults.len(), 3, "{faults:?}");

    let folder = Folder::valid();
    fs::remove_dir_all(folder.dir.join("golden")).unwrap();
    folder.write("golden", "no folder");
    let faults = folder.read().unwrap_err();
    expect(&faults, "golden", "", "make it a folder");
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn a_manifest_in_another_encoding_is_found_out() {
    let folder = Folder::valid();
    folder.write(TOML, b"format = 1\nname = \"\xe4\"");
    let faults = folder.read().unwrap_err();
    expect(&faults, TOML, "line 2", "save the file as UTF-8");
}

#[cfg(unix)]
#[test]
fn links_are_refused() {
    let folder = Folder::valid();
    let link = |name: &str| std::os::unix::fs::symlink("/dev/null", folder.dir.join(name));
    link("weights.bin").unwrap();
    folder.remove("model.onnx");
    link("model.onnx").unwrap();
    let faults = folder.read().unwrap_err();
    for file in ["weights.bin", "model.onnx"] {
        expect(
            &faults,
            file,
            "",
            "found a symbolic link, expected a file of the package's own; put a copy of the file here",
        );
    }
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[test]
fn a_package_needs_an_example_with_an_outcome() {
    let folder = Folder::valid();
    folder.remove(FIRST);
    let faults = folder.read().unwrap_err();
    expect(
        &faults,
        "golden",
        "",
        "found golden examples of rejections only",
    );
    folder.remove(SECOND);
    let faults = folder.read().unwrap_err();
    expect(&faults, "golden", "", "found no golden examples");
    expect(&faults, "golden", "", "run `inferq score` on the package");
}

#[test]
fn a_package_without_fault_is_read() {
    let folder = Folder::valid();
    let files = folder.read().unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(files.manifest().outputs(), ["probabilities"]);
    assert_eq!(files.model(), folder.path().join("model.onnx"));
    assert_eq!(files.goldens.len(), 2);
}

#[test]
fn a_folder_outside_a_repository_may_be_called_anything() {
    let mut folder = Folder::valid();
    folder.rename("work/my-model");
    folder.read().unwrap();
    let faults = Package::placed(&folder.dir).unwrap_err();
    expect(&faults, TOML, "name", "rename the folder to \"scores\"");
    expect(&faults, TOML, "version", "rename the folder to \"1.0.0\"");
}

#[test]
fn a_folder_that_is_named_by_a_detour_is_still_the_one() {
    let folder = Folder::valid();
    Package::placed(&folder.dir.join("../1.0.0")).unwrap();
    Package::placed(&folder.dir.join("golden/..")).unwrap();
}

#[test]
fn all_faults_are_told_at_once() {
    let mut folder = Folder::valid();
    folder.edit(TOML, "owner", "each = \"items\"\nownr");
    folder.edit(TOML, "\"log1p\"", "3");
    folder.edit(TOML, "pointer = \"/age\", ", "");
    folder.edit(REQUEST, "\"type\": \"number\"", "\"type\": \"nmber\"");
    folder.write("golden/first.json", "");
    folder.remove("model.onnx");
    folder.rename("scores/2.0.0");
    let faults = folder.read().unwrap_err();
    for (file, key) in [
        (TOML, "version"),
        (TOML, "each"),
        (TOML, "ownr"),
        (TOML, "owner"),
        (TOML, "input.features.columns[0].transform"),
        (TOML, "input.features.columns[1].pointer"),
        (REQUEST, "/properties/amount/type"),
        ("golden/first.json", "line 1, column 0"),
        ("model.onnx", ""),
    ] {
        expect(&faults, file, key, "");
    }
    assert_eq!(faults.len(), 9, "{faults:#?}");
}

#[test]
fn a_draft_needs_no_golden_examples() {
    let folder = Folder::valid();
    folder.remove("golden/first.json");
    assert!(folder.read().is_err());
    assert!(Package::draft(folder.path()).is_ok());
}

#[test]
fn what_is_no_folder_is_said_to_be_none() {
    let folder = Folder::valid();
    for (file, found) in [("none", "found nothing"), ("package.toml", "found a file")] {
        let faults = Package::read(&folder.path().join(file)).unwrap_err();
        assert!(faults[0].to_string().contains(found), "{faults:?}");
    }
}

//! Ways to break a package.

use super::*;

struct Case {
    way: &'static str,
    break_it: fn(&mut Folder),
    file: &'static str,
    key: &'static str,
    words: &'static str,
}

const TOML: &str = "package.toml";

fn case(
    way: &'static str,
    break_it: fn(&mut Folder),
    (file, key): (&'static str, &'static str),
    words: &'static str,
) -> Case {
    Case {
        way,
        break_it,
        file,
        key,
        words,
    }
}

fn manifests() -> Vec<Case> {
    vec![
        case(
            "a manifest that is missing",
            |f| f.remove(TOML),
            (TOML, ""),
            "found nothing, expected a file; add the file",
        ),
        case(
            "a manifest that is not TOML",
            |f| f.edit(TOML, "name = \"scores\"", "name = scores"),
            (TOML, "line 2, column 8"),
            "not TOML",
        ),
        case(
            "a manifest in another encoding",
            |f| f.write(TOML, b"format = 1\nname = \"\xe4\""),
            (TOML, "line 2"),
            "save the file as UTF-8",
        ),
        case(
            "a newer format",
            |f| f.edit(TOML, "format = 1", "format = 2"),
            (TOML, "format"),
            "run a newer inferq",
        ),
        case(
            "a format below 1",
            |f| f.edit(TOML, "format = 1", "format = 0"),
            (TOML, "format"),
            "found 0, expected a number of at least 1",
        ),
        case(
            "an unknown key",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[limits]\nrequest_byte = 9\n[input.features]",
                )
            },
            (TOML, "limits.request_byte"),
            "found an unknown key, expected one of \"deadline_ms\", \"max_rows\", \"reply_bytes\", \"request_bytes\"; did you mean \"request_bytes\"?",
        ),
        case(
            "an unknown key at the top",
            |f| f.edit(TOML, "owner", "desription = 1\nowner"),
            (TOML, "desription"),
            "did you mean \"description\"?",
        ),
        case(
            "an unknown key deep in a list",
            |f| f.edit(TOML, "on_missing", "on_mising"),
            (TOML, "input.features.columns[1].on_mising"),
            "did you mean \"on_missing\"?",
        ),
        case(
            "a missing key",
            |f| f.edit(TOML, "owner = \"payments\"", ""),
            (TOML, "owner"),
            "found nothing, expected \"owner\", text; add \"owner\"",
        ),
        case(
            "a value of another type",
            |f| f.edit(TOML, "owner = \"payments\"", "owner = 7"),
            (TOML, "owner"),
            "found 7, expected text",
        ),
        case(
            "a fraction for a count",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[batch]\nmax_size = 2.0\n[input.features]",
                )
            },
            (TOML, "batch.max_size"),
            "invalid type: floating point `2.0`",
        ),
        case(
            "an unknown transform",
            |f| f.edit(TOML, "\"log1p\"", "\"log1\""),
            (TOML, "input.features.columns[0].transform"),
            "did you mean \"log1p\"?",
        ),
        case(
            "an unknown kind of outcome",
            |f| f.edit(TOML, "verdict.class", "verdict.clas"),
            (TOML, "outcome.verdict.clas"),
            "did you mean \"class\"?",
        ),
        case(
            "an outcome that lacks its output",
            |f| f.edit(TOML, "output = \"probabilities\"\nlabels", "labels"),
            (TOML, "outcome.verdict.class.output"),
            "add \"output\"",
        ),
        case(
            "no outcome at all",
            |f| {
                f.edit(TOML, "[outcome.verdict.class]\noutput = \"probabilities\"\nlabels = [\"good\", \"bad\"]\nscore_field = \"score\"", "");
            },
            (TOML, "outcome"),
            "found nothing",
        ),
        case(
            "no batch at all",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[batch]\nmax_size = 0\n[input.features]",
                )
            },
            (TOML, "batch.max_size"),
            "found 0, expected a number of at least 1",
        ),
        case(
            "a batch beyond reason",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[batch]\nmax_size = 5000\n[input.features]",
                )
            },
            (TOML, "batch.max_size"),
            "expected a number of at most 4096",
        ),
        case(
            "a delay that runs backwards",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[batch]\nmax_delay_ms = -1\n[input.features]",
                )
            },
            (TOML, "batch.max_delay_ms"),
            "expected a number of at least 0",
        ),
        case(
            "a delay without end",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[batch]\nmax_delay_ms = inf\n[input.features]",
                )
            },
            (TOML, "batch.max_delay_ms"),
            "expected a number",
        ),
        case(
            "a queue that holds no batch",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[batch]\nqueue_limit = 8\n[input.features]",
                )
            },
            (TOML, "batch.queue_limit"),
            "expected at least 64",
        ),
        case(
            "no session",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[sessions]\ncount = 0\n[input.features]",
                )
            },
            (TOML, "sessions.count"),
            "expected a number of at least 1",
        ),
        case(
            "no thread",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[sessions]\nthreads = 0\n[input.features]",
                )
            },
            (TOML, "sessions.threads"),
            "expected a number of at least 1",
        ),
        case(
            "a limit that lets nothing through",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[limits]\nrequest_bytes = 0\n[input.features]",
                )
            },
            (TOML, "limits.request_bytes"),
            "expected a number of at least 1",
        ),
        case(
            "many rows without `each`",
            |f| {
                f.edit(
                    TOML,
                    "[input.features]",
                    "[limits]\nmax_rows = 8\n[input.features]",
                )
            },
            (TOML, "limits.max_rows"),
            "add each = ",
        ),
        case(
            "a pointer that is none",
            |f| f.edit(TOML, "owner", "each = \"items\"\nowner"),
            (TOML, "each"),
            "\"/items\"",
        ),
        case(
            "a name in capitals",
            |f| f.edit(TOML, "name = \"scores\"", "name = \"My Scores\""),
            (TOML, "name"),
            "write \"my-scores\"",
        ),
        case(
            "a name that is inferq's",
            |f| f.edit(TOML, "name = \"scores\"", "name = \"dead\""),
            (TOML, "name"),
            "choose another name",
        ),
        case(
            "a version with a space",
            |f| f.edit(TOML, "version = \"1.0.0\"", "version = \"1 0\""),
            (TOML, "version"),
            "write it as \"1.0.0\"",
        ),
        case(
            "another version than its folder's",
            |f| f.rename("scores/1.0.1"),
            (TOML, "version"),
            "write version = \"1.0.1\", or rename the folder to \"1.0.0\"",
        ),
        case(
            "another name than its folder's",
            |f| f.rename("score/1.0.0"),
            (TOML, "name"),
            "write name = \"score\", or rename the folder to \"scores\"",
        ),
        case(
            "replies into inferq's own queues",
            |f| f.edit(TOML, "owner", "default_reply_to = \"inferq.dead\"\nowner"),
            (TOML, "default_reply_to"),
            "name a queue of the consumers' own",
        ),
        case(
            "a model elsewhere",
            |f| f.edit(TOML, "owner", "model = \"../model.onnx\"\nowner"),
            (TOML, "model"),
            "put the file into the folder",
        ),
        case(
            "a code that is none",
            |f| {
                f.edit(
                    TOML,
                    "[rejection.needs_human]",
                    "[rejection.\"Needs human\"]",
                )
            },
            (TOML, "rejection.\"Needs human\""),
            "rename the code",
        ),
    ]
}

const REQUEST: &str = "request.schema.json";
const RESPONSE: &str = "response.schema.json";

fn files() -> Vec<Case> {
    vec![
        case(
            "a model that is missing",
            |f| {
                f.write("model.onx", "");
                f.remove("model.onnx");
            },
            ("model.onnx", ""),
            "rename \"model.onx\", or add the file",
        ),
        case(
            "a request schema that is missing",
            |f| f.remove(REQUEST),
            (REQUEST, ""),
            "add the file",
        ),
        case(
            "a schema that is not JSON",
            |f| f.edit(REQUEST, "\"type\": \"object\",", "\"type\": \"object\""),
            (REQUEST, "line 4, column 3"),
            "not JSON",
        ),
        case(
            "a schema that is not a schema",
            |f| f.edit(REQUEST, "\"type\": \"number\"", "\"type\": \"nmber\""),
            (REQUEST, "/properties/amount/type"),
            "found \"nmber\", expected one of",
        ),
        case(
            "a schema of another draft",
            |f| f.edit(REQUEST, "draft/2020-12", "draft/2019-09"),
            (REQUEST, "/$schema"),
            "rewrite the schema for 2020-12",
        ),
        case(
            "a reference to elsewhere",
            |f| {
                f.edit(
                    REQUEST,
                    "\"#/$defs/currency\"",
                    "\"https://example.com/c.json\"",
                )
            },
            (REQUEST, "/properties/currency/$ref"),
            "nothing is fetched",
        ),
        case(
            "a reference to nothing",
            |f| f.edit(REQUEST, "\"#/$defs/currency\"", "\"#/$defs/curency\""),
            (REQUEST, "/properties/currency/$ref"),
            "mend the reference",
        ),
        case(
            "a reference to itself",
            |f| {
                f.edit(
                    RESPONSE,
                    "\"enum\"",
                    "\"$ref\": \"#/properties/verdict\", \"enum\"",
                )
            },
            (RESPONSE, "/properties/verdict/$ref"),
            "leads back to itself",
        ),
        case(
            "a pattern that is none",
            |f| f.edit(REQUEST, "^[A-Z]{3}$", "^[A-Z{3}$"),
            (REQUEST, "/$defs/currency/pattern"),
            "expected",
        ),
        case(
            "a pattern that needs back-tracking",
            |f| f.edit(REQUEST, "^[A-Z]{3}$", "^(?=EU)[A-Z]{3}$"),
            (REQUEST, "/$defs/currency/pattern"),
            "linear time",
        ),
        case(
            "no golden example",
            |f| {
                f.remove("golden/first.json");
                f.remove("golden/second.json");
            },
            ("golden", ""),
            "inferq score",
        ),
        case(
            "golden rejections only",
            |f| f.remove("golden/first.json"),
            ("golden", ""),
            "found golden examples of rejections only",
        ),
        case(
            "a golden example that is not JSON",
            |f| f.write("golden/first.json", "{"),
            ("golden/first.json", "line 1, column 1"),
            "not JSON",
        ),
        case(
            "a golden example with an unknown key",
            |f| {
                f.edit(
                    "golden/first.json",
                    "\"request\"",
                    "\"tolerence\": 1, \"request\"",
                )
            },
            ("golden/first.json", "/tolerence"),
            "did you mean \"tolerance\"?",
        ),
        case(
            "a golden example without answer",
            |f| f.edit("golden/second.json", "\"rejection\"", "\"content_type\""),
            ("golden/second.json", ""),
            "found neither, expected either outcome or rejection",
        ),
        case(
            "a content type without picture",
            |f| f.edit("golden/second.json", "\"rejection\"", "\"content_type\""),
            ("golden/second.json", "/content_type"),
            "expected none",
        ),
        case(
            "a golden request that the schema forbids",
            |f| f.edit("golden/first.json", "1.5", "-1.5"),
            ("golden/first.json", "/request/amount"),
            "expected a number of at least 0",
        ),
        case(
            "a golden outcome that the schema forbids",
            |f| f.edit("golden/first.json", "0.75", "1.75"),
            ("golden/first.json", "/outcome/score"),
            "expected a number of at most 1",
        ),
        case(
            "a golden rejection that is not declared",
            |f| f.edit("golden/second.json", "needs_human", "needs_humans"),
            ("golden/second.json", "/rejection"),
            "did you mean \"package:needs_human\"?",
        ),
        case(
            "a golden picture that is missing",
            |f| {
                f.edit(
                    "golden/first.json",
                    "\"request\": { \"amount\": 1.5, \"currency\": \"EUR\" }",
                    "\"picture\": \"a.png\"",
                )
            },
            ("golden/a.png", ""),
            "add the file",
        ),
        case(
            "a golden picture elsewhere",
            |f| {
                f.edit(
                    "golden/first.json",
                    "\"request\": { \"amount\": 1.5, \"currency\": \"EUR\" }",
                    "\"picture\": \"../a.png\"",
                )
            },
            ("golden/first.json", "/picture"),
            "put the picture into golden/",
        ),
        case(
            "a negative tolerance",
            |f| {
                f.edit(
                    "golden/first.json",
                    "\"request\"",
                    "\"tolerance\": -1, \"request\"",
                )
            },
            ("golden/first.json", "/tolerance"),
            "at least 0",
        ),
        #[cfg(unix)]
        case(
            "a link",
            |f| std::os::unix::fs::symlink("/dev/null", f.dir.join("weights.bin")).unwrap(),
            ("weights.bin", ""),
            "put a copy of the file here",
        ),
    ]
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
}

#[test]
fn every_way_to_break_a_package_is_explained() {
    let cases: Vec<_> = manifests().into_iter().chain(files()).collect();
    assert!(cases.len() >= 20);
    for case in cases {
        let mut folder = Folder::valid();
        (case.break_it)(&mut folder);
        let faults = folder.read().expect_err(case.way);
        eprintln!("{}", case.way);
        for fault in &faults {
            eprintln!("    {fault}");
        }
        expect(&faults, case.file, case.key, case.words);
        assert!(
            faults.len() <= 4,
            "{}: one cause, too many faults",
            case.way
        );
    }
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

//! Ways to break a manifest.

use super::{broken::TOML, *};

/// What replaces what in the manifest, and the fault that it gives: `(way, from, to, key, words)`.
type Case = [&'static str; 5];

/// A table of its own, before the first of the valid manifest.
const TABLE: &str = "[input.features]";

/// A line at the top.
const LINE: &str = "owner = ";

const CASES: [Case; 37] = [
    [
        "a text without quotes",
        "\"scores\"",
        "scores",
        "line 2, column 8",
        "not TOML",
    ],
    [
        "a newer format",
        "format = 1",
        "format = 2",
        "format",
        "run a newer inferq",
    ],
    [
        "a format below 1",
        "format = 1",
        "format = 0",
        "format",
        "found 0, expected a number of at least 1",
    ],
    [
        "an unknown key in a table",
        TABLE,
        "[limits]\nrequest_byte = 9\n[input.features]",
        "limits.request_byte",
        "found an unknown key, expected one of \"request_bytes\", \"max_rows\", \"deadline_ms\", \"reply_bytes\", \"run_ms\", \"run_memory_bytes\"; did you mean \"request_bytes\"?",
    ],
    [
        "an unknown key at the top",
        LINE,
        "desription = 1\nowner = ",
        "desription",
        "did you mean \"description\"?",
    ],
    [
        "an unknown key deep in a list",
        "on_missing",
        "on_mising",
        "input.features.columns[1].on_mising",
        "did you mean \"on_missing\"?",
    ],
    [
        "a missing key",
        "owner = \"payments\"",
        "",
        "owner",
        "found nothing, expected text; add \"owner\"",
    ],
    [
        "a value of another type",
        "\"payments\"",
        "7",
        "owner",
        "found 7, expected text; write it in quotes",
    ],
    [
        "a fraction for a count",
        TABLE,
        "[batch]\nmax_size = 2.0\n[input.features]",
        "batch.max_size",
        "write a whole number",
    ],
    [
        "a number in quotes",
        TABLE,
        "[batch]\nmax_size = \"8\"\n[input.features]",
        "batch.max_size",
        "write it without quotes",
    ],
    [
        "an unknown transform",
        "\"log1p\"",
        "\"log1\"",
        "input.features.columns[0].transform",
        "did you mean \"log1p\"?",
    ],
    [
        "an unknown kind of outcome",
        "verdict.class",
        "verdict.clas",
        "outcome.verdict.clas",
        "did you mean \"class\"?",
    ],
    [
        "an outcome that lacks its output",
        "output = \"probabilities\"\nlabels",
        "labels",
        "outcome.verdict.class.output",
        "add \"output\"",
    ],
    [
        "no outcome at all",
        "[outcome.verdict.class]\noutput = \"probabilities\"\nlabels = [\"good\", \"bad\"]\nscore_field = \"score\"",
        "",
        "outcome",
        "found nothing, expected a table; add \"outcome\"",
    ],
    [
        "an empty batch",
        TABLE,
        "[batch]\nmax_size = 0\n[input.features]",
        "batch.max_size",
        "found 0, expected a number of at least 1; leave it out to have 64",
    ],
    [
        "a batch beyond reason",
        TABLE,
        "[batch]\nmax_size = 5000\n[input.features]",
        "batch.max_size",
        "expected a number of at most 4096; leave it out to have 64",
    ],
    [
        "a delay that runs backwards",
        TABLE,
        "[batch]\nmax_delay_ms = -1\n[input.features]",
        "batch.max_delay_ms",
        "expected a number of at least 0; leave it out to have 2",
    ],
    [
        "a delay without end",
        TABLE,
        "[batch]\nmax_delay_ms = inf\n[input.features]",
        "batch.max_delay_ms",
        "found \"inf\", expected a number; write a finite number",
    ],
    [
        "a queue that holds no batch",
        TABLE,
        "[batch]\nqueue_limit = 8\n[input.features]",
        "batch.queue_limit",
        "expected at least 64: a whole batch, and every row of one request, must find room; raise queue_limit",
    ],
    [
        "no session",
        TABLE,
        "[sessions]\ncount = 0\n[input.features]",
        "sessions.count",
        "expected a number of at least 1; leave it out to have 1",
    ],
    [
        "no thread",
        TABLE,
        "[sessions]\nthreads = 0\n[input.features]",
        "sessions.threads",
        "expected a number of at least 1; leave it out to have 1",
    ],
    [
        "a limit that lets nothing through",
        TABLE,
        "[limits]\nrequest_bytes = 0\n[input.features]",
        "limits.request_bytes",
        "expected a number of at least 1; leave it out to have 1048576",
    ],
    [
        "a deadline in the next century",
        TABLE,
        "[limits]\ndeadline_ms = 9223372036854775807\n[input.features]",
        "limits.deadline_ms",
        "expected a number of at most 604800000; leave it out to have 30000",
    ],
    [
        "many rows without `each`",
        TABLE,
        "[limits]\nmax_rows = 8\n[input.features]",
        "limits.max_rows",
        "add each = \"/…\"",
    ],
    [
        "a pointer that is none",
        LINE,
        "each = \"items\"\nowner = ",
        "each",
        "write \"/\" before every key, as in \"/items\"",
    ],
    [
        "a name in capitals",
        "\"scores\"",
        "\"My Scores\"",
        "name",
        "write \"my-scores\"",
    ],
    [
        "a name that is inferq's",
        "\"scores\"",
        "\"dead\"",
        "name",
        "choose another name",
    ],
    [
        "a name without end",
        "\"scores\"",
        "\"scores-scores-scores-scores-scores-scores-scores-scores-scores-scores\"",
        "name",
        "choose a shorter name",
    ],
    [
        "a version with a space",
        "\"1.0.0\"",
        "\"1 0\"",
        "version",
        "write it as \"1.0.0\"",
    ],
    [
        "another version than its folder's",
        "\"1.0.0\"",
        "\"1.0.1\"",
        "version",
        "write version = \"1.0.0\", or rename the folder to \"1.0.1\"",
    ],
    [
        "another name than its folder's",
        "\"scores\"",
        "\"score\"",
        "name",
        "write name = \"scores\", or rename the folder to \"score\"",
    ],
    [
        "replies into inferq's own queues",
        LINE,
        "default_reply_to = \"inferq.dead\"\nowner = ",
        "default_reply_to",
        "name a queue of the consumers' own",
    ],
    [
        "two kinds of outcome in one field",
        "[outcome.verdict.class]",
        "[outcome.verdict.number]\noutput = \"p\"\n[outcome.verdict.class]",
        "outcome.verdict",
        "expected just one of the allowed forms; keep one of its keys and take the others away",
    ],
    [
        "a model in hiding",
        LINE,
        "model = \"__pycache__/m.onnx\"\nowner = ",
        "model",
        "rename the file",
    ],
    [
        "a schema in hiding",
        LINE,
        "request_schema = \".r.json\"\nowner = ",
        "request_schema",
        "rename the file",
    ],
    [
        "a model elsewhere",
        LINE,
        "model = \"../model.onnx\"\nowner = ",
        "model",
        "put the file into the folder and write its name",
    ],
    [
        "a code that is none",
        "[rejection.needs_human]",
        "[rejection.\"Needs human\"]",
        "rejection.\"Needs human\"",
        "rename the code here and where it is used",
    ],
];

#[test]
fn every_way_to_break_a_manifest_is_explained() {
    let mut unexplained = Vec::new();
    for [way, from, to, key, words] in CASES {
        let folder = Folder::valid();
        folder.edit(TOML, from, to);
        let faults = folder.read().expect_err(way);
        // One cause may have another effect, but not a crowd of them.
        if !has(&faults, TOML, key, words) || faults.len() > 2 {
            let told: Vec<_> = faults.iter().map(|f| format!("\n    {f}")).collect();
            unexplained.push(format!("{way}{}", told.concat()));
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
}

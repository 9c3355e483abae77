//! Properties and headers that ask for what there is not, or are none.

use serde_json::json;

use super::{case::Case, payment};

fn case(name: &str) -> Case {
    Case::object(name, "fraud", payment())
}

pub(super) fn unknown() -> Vec<Case> {
    let package = |name: &str| {
        Case::object(&format!("package {name:?}"), name, payment()).gets("unknown_package")
    };
    let version = |version: &str| {
        case(&format!("version {version:?}"))
            .header("inferq-version", version)
            .gets("unknown_version")
    };
    vec![
        package("nobody"),
        package("fraud2"),
        package("Fraud"),
        package("fraud "),
        package(""),
        package("#"),
        package("inferq.fraud"),
        package("ä"),
        package(&"k".repeat(255)),
        case("version that is a number")
            .header("inferq-version", 1)
            .gets("unknown_version"),
        version("9.9.9"),
        version("1.0"),
        version(""),
        version("../1.0.0"),
        version(&"9".repeat(5_000)),
    ]
}

pub(super) fn late() -> Vec<Case> {
    let cases = vec![
        case("deadline 1970").header("inferq-deadline", 1),
        case("deadline 1970, as text").header("inferq-deadline", "1"),
        case("deadline that is none").header("inferq-deadline", 0),
        case("sent in 1970, a minute to live")
            .with("timestamp", 1)
            .with("expiration", "60000"),
    ];
    cases
        .into_iter()
        .map(|case| case.gets("deadline_exceeded"))
        .collect()
}

pub(super) fn malformed() -> Vec<Case> {
    let cases = vec![
        case("deadline before 1970").header("inferq-deadline", -1),
        case("deadline in words").header("inferq-deadline", "tomorrow"),
        case("deadline with a fraction").header("inferq-deadline", "1.5"),
        case("deadline beyond 64 bits").header("inferq-deadline", "99999999999999999999"),
        case("deadline in a table").header("inferq-deadline", json!({ "at": 1 })),
        case("deadline that is true").header("inferq-deadline", true),
        case("version in a list").header("inferq-version", json!(["1.0.0"])),
        case("version that is true").header("inferq-version", true),
    ];
    cases
        .into_iter()
        .map(|case| case.gets("malformed_message"))
        .collect()
}

/// As long or as odd as AMQP allows, and none of inferq's business: answered.
pub(super) fn harmless() -> Vec<Case> {
    let long = "i".repeat(255);
    let words = ["text", "ä", ""];
    let mut cases: Vec<_> = words
        .iter()
        .map(|word| case(&format!("accept {word:?}")).header("inferq-accept", *word))
        .collect();
    cases.extend([
        case("correlation id of 255 bytes").with("correlation_id", &*long),
        case("message id of 255 bytes").with("message_id", &*long),
        case("app id and type of 255 bytes").with("app_id", &*long).with("type", &*long),
        case("deadline at the end of time").header("inferq-deadline", i64::MAX),
        case("deadline that is a timestamp").header("inferq-deadline", json!({ "$timestamp": 4_102_444_800_u64 })),
        case("timestamp at the end of time").with("timestamp", 253_402_300_799_i64).with("expiration", "60000"),
        case("content type of parameters alone").with("content_type", ";"),
        Case::body("byte order mark", "fraud", format!("\u{feff}{}", payment())),
        case("accept that is a number").header("inferq-accept", 1),
        case("a header of every kind").header("kinds", json!({
            "text": "ä", "bytes": { "$bytes": "AP8=" }, "int": 1_u64 << 40, "small": -1, "flag": false, "nothing": null,
            "decimal": { "$decimal": "1.5" }, "time": { "$timestamp": 1_700_000_000 }, "list": [1, "two", [null]], "table": { "inner": {} },
        })),
        case("a header of 50 KB").header("long", "x".repeat(50_000)),
        case("a thousand headers").with("headers", (0..1_000).map(|at| (format!("h{at}"), json!(at))).collect::<serde_json::Map<_, _>>()),
        case("a header name of 255 bytes").header(&long, 1),
        case("a delivery count of the producer's own").header("x-delivery-count", 17),
        case("attempts of the producer's own").header("inferq-attempts", 99),
        case("deaths of the producer's own").header("x-death", json!([{ "queue": "inferq.fraud", "reason": "expired", "count": 1 }])),
    ]);
    cases
}

//! `package.toml`, as it is written.

use std::{collections::BTreeMap, fmt, time::Duration};

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shape::without_null;
use crate::{
    decision::{OutcomeSpec, RejectRule, RejectionSpec},
    representation::InputSpec,
};

/// The manifest's file name.
pub const MANIFEST: &str = "package.toml";

/// The newest `format` that this inferq understands.
pub const FORMAT: u64 = 1;

/// A manifest: who the package is, how requests become inputs, and how outputs become outcomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "inferq package manifest, format 1")]
pub struct Manifest {
    /// The format of this file: 1.
    #[schemars(range(min = 1, max = 1))]
    pub format: u32,
    /// The package's name: routing key of its requests.
    #[schemars(regex(pattern = "^[a-z0-9_-]{1,64}$"))]
    pub name: String,
    /// The version of this content.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"))]
    pub version: String,
    /// What it is for, in a sentence or two.
    #[schemars(length(min = 1))]
    pub description: String,
    /// The team to ask.
    #[schemars(length(min = 1))]
    pub owner: String,
    /// Licence of the model and its data.
    pub license: Option<String>,
    /// The ONNX file, in this folder.
    #[serde(default = "model")]
    pub model: String,
    /// JSON Schema 2020-12 of a request, in this folder.
    #[serde(default = "request_schema")]
    pub request_schema: String,
    /// JSON Schema 2020-12 of an outcome, in this folder.
    #[serde(default = "response_schema")]
    pub response_schema: String,
    /// The queue for replies to requests that name none.
    #[schemars(length(min = 1, max = 255))]
    pub default_reply_to: Option<String>,
    /// Whether there is a second queue, routing key `<name>.high`, whose requests go first.
    #[serde(default)]
    pub high_queue: bool,
    /// JSON pointer to an array in the request: each element becomes a row, and the outcome is `{"results": […]}`.
    pub each: Option<String>,
    /// How much a request may ask for.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// How rows run together.
    #[serde(default)]
    pub batch: Batch,
    /// How many run at a time; where this is absent one, or on a CPU what is clearly faster there: one a core, or one
    /// on all cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Sessions>,
    /// What this package is given of a device that others want as well.
    #[serde(default)]
    pub share: ShareSpec,
    /// How each of the model's inputs is made, by the input's name.
    #[schemars(extend("minProperties" = 1))]
    pub input: BTreeMap<String, InputSpec>,
    /// How each field of the outcome is made.
    #[schemars(extend("minProperties" = 1))]
    pub outcome: BTreeMap<String, OutcomeSpec>,
    /// The package's own codes.
    #[serde(default)]
    pub rejection: BTreeMap<String, RejectionSpec>,
    /// When a row is rejected for what the model gave.
    #[serde(default)]
    pub reject: Vec<RejectRule>,
}

fn model() -> String {
    "model.onnx".into()
}

fn request_schema() -> String {
    "request.schema.json".into()
}

fn response_schema() -> String {
    "response.schema.json".into()
}

/// How much a request may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Bytes of a request's body, decompressed; 1 GiB at most.
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub request_bytes: usize,
    /// Rows of a request. Without it: 64 with `each`, else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub max_rows: Option<usize>,
    /// Milliseconds that a request may take when it names no deadline; a week at most.
    #[schemars(range(min = 1, max = 604_800_000))]
    pub deadline_ms: u64,
    /// Bytes of a reply's body; 1 GiB at most.
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub reply_bytes: usize,
    /// Milliseconds that a run of the model may take; longer ones are stopped, and the rows that do so alone
    /// are answered `model_fault`. An hour at most.
    #[schemars(range(min = 1, max = 3_600_000))]
    pub run_ms: u64,
    /// Bytes of tensors and scratch that a run of the model, a whole batch, may hold, its weights apart; one that asks
    /// for more fails, and the rows that do so alone are answered `model_fault`. Without it there is no limit. 1 TiB
    /// at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_099_511_627_776_u64))]
    pub run_memory_bytes: Option<usize>,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        LimitsSpec {
            request_bytes: 1 << 20,
            max_rows: None,
            deadline_ms: 30_000,
            reply_bytes: 1 << 20,
            run_ms: 30_000,
            run_memory_bytes: None,
        }
    }
}

/// How rows run together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Most rows of a batch.
    #[schemars(range(min = 1, max = 4096))]
    pub max_size: usize,
    /// Milliseconds that a row waits for others at most. It waits only while requests are on their way (known to be,
    /// or under a backlog in place of what is answered) whose company spares more than the waiting costs.
    #[schemars(range(min = 0, max = 60_000))]
    pub max_delay_ms: f64,
    /// Most rows that wait; requests beyond are rejected `overloaded`.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub queue_limit: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            max_size: 64,
            max_delay_ms: 2.0,
            queue_limit: 4096,
        }
    }
}

impl Batch {
    /// How long a row waits for others at most.
    #[must_use]
    pub fn max_delay(&self) -> Duration {
        Duration::try_from_secs_f64(self.max_delay_ms / 1000.0).unwrap_or_default()
    }
}

/// How many sessions run the model, and how wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// Sessions; each runs its own batches.
    #[schemars(range(min = 1, max = 64))]
    pub count: usize,
    /// Cores that one run uses.
    #[schemars(range(min = 1, max = 256))]
    pub threads: usize,
}

impl fmt::Display for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sessions { count, threads } = self;
        let plural = |n: &usize| if *n == 1 { "" } else { "s" };
        let (sessions, cores) = (plural(count), plural(threads));
        write!(f, "{count} session{sessions} of {threads} core{cores}")
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Sessions {
            count: 1,
            threads: 1,
        }
    }
}

/// What a package is given of a device that others want as well. An operator may say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShareSpec {
    /// Of the device's time, not of the requests, in proportion to the others that want it.
    #[schemars(range(min = 0.001, max = 1000))]
    pub weight: f64,
    /// Milliseconds that a request may take in the worker without harm: while it can wait, packages that cannot go
    /// first.
    #[schemars(range(min = 0, max = 3_600_000))]
    pub latency_ms: f64,
}

impl Default for ShareSpec {
    fn default() -> Self {
        ShareSpec {
            weight: 1.0,
            latency_ms: 0.0,
        }
    }
}

impl ShareSpec {
    /// How long a request may take in the worker without harm.
    #[must_use]
    pub fn latency(&self) -> Duration {
        Duration::try_from_secs_f64(self.latency_ms / 1000.0).unwrap_or_default()
    }
}

/// How much a request may ask for, with everything filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body, decompressed.
    pub request_bytes: usize,
    /// Rows of a request.
    pub max_rows: usize,
    /// Time that a request may take when it names no deadline.
    pub deadline: Duration,
    /// Bytes of a reply's body.
    pub reply_bytes: usize,
    /// Time that a run of the model may take.
    pub run: Duration,
    /// Bytes that a run of the model may take.
    pub run_memory: Option<usize>,
}

impl Manifest {
    /// The limits, with everything filled in.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let rows = if self.each.is_some() { 64 } else { 1 };
        Limits {
            request_bytes: self.limits.request_bytes,
            max_rows: self.limits.max_rows.unwrap_or(rows),
            deadline: Duration::from_millis(self.limits.deadline_ms),
            reply_bytes: self.limits.reply_bytes,
            run: Duration::from_millis(self.limits.run_ms),
            run_memory: self.limits.run_memory_bytes,
        }
    }

    /// Names of the model's outputs that the outcome and the reject rules read, each once.
    #[must_use]
    pub fn outputs(&self) -> Vec<String> {
        let fields = self.outcome.values().map(|spec| match spec {
            OutcomeSpec::Class(spec) => &spec.output,
            OutcomeSpec::Number(spec) => &spec.output,
            OutcomeSpec::Vector(spec) => &spec.output,
            OutcomeSpec::TopK(spec) => &spec.output,
        });
        let rules = self.reject.iter().map(|rule| &rule.output);
        let mut names: Vec<_> = fields.chain(rules).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// JSON Schema 2020-12 of `package.toml`.
#[must_use]
pub fn manifest_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(without_null);
    settings
        .into_generator()
        .into_root_schema_for::<Manifest>()
        .to_value()
}

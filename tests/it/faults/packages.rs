//! Packages with tiny models, made in a folder of their own.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::onnx::{self, Graph};

pub(super) const LABOUR: &str = r#"
[input.x]
dtype = "float32"
columns = [{ pointer = "/x" }]
[input.work]
dtype = "int64"
columns = [{ pointer = "/work" }]
[outcome.y.number]
output = "y"
round = 0
"#;

/// A model repository, gone when dropped.
pub(crate) struct Packages(tempfile::TempDir);

impl Packages {
    pub(super) fn new() -> Packages {
        Packages(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Adds a package of one session; `golden` is a request and its outcome.
    pub(super) fn with(
        self,
        (name, version): (&str, &str),
        batch: &str,
        ports: &str,
        model: &Graph,
        (request, outcome): (Value, Value),
    ) -> Packages {
        let folder = self.path().join(name).join(version);
        fs::create_dir_all(folder.join("golden")).unwrap();
        let write = |file: &str, text: String| fs::write(folder.join(file), text).unwrap();
        let object =
            json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"});
        write("request.schema.json", object.to_string());
        write("response.schema.json", object.to_string());
        let golden = json!({"request": request, "outcome": outcome});
        write("golden/one.json", golden.to_string());
        write(
            "package.toml",
            format!(
                "format = 1\nname = \"{name}\"\nversion = \"{version}\"\ndescription = \"For tests.\"\n\
                 owner = \"tests\"\n[limits]\ndeadline_ms = 120000\n[batch]\n{batch}\n\
                 [sessions]\ncount = 1\n{ports}"
            ),
        );
        model.write(&folder);
        self
    }

    /// Writes something else in place of a part of a manifest.
    pub(super) fn change(&self, (name, version): (&str, &str), part: &str, other: &str) {
        let file = self.path().join(name).join(version).join("package.toml");
        let manifest = fs::read_to_string(&file).unwrap();
        assert!(manifest.contains(part));
        fs::write(file, manifest.replace(part, other)).unwrap();
    }

    /// Adds a version of `labour`: `{x, work}` is answered `{y: x}` after `work` turns of a loop.
    pub(super) fn with_labour(self, version: &str) -> Packages {
        self.with_work(version, 3)
    }

    /// Adds the same under another name.
    pub(super) fn with_other(self, name: &str) -> Packages {
        let golden = (json!({"x": 7, "work": 3}), json!({"y": 7}));
        let batch = "max_size = 32\nmax_delay_ms = 1.0";
        self.with((name, "1.0.0"), batch, LABOUR, &onnx::labour(), golden)
    }

    /// The same, whose golden example does so much work.
    fn with_work(self, version: &str, work: u64) -> Packages {
        let golden = (json!({"x": 7, "work": work}), json!({"y": 7}));
        let batch = "max_size = 32\nmax_delay_ms = 1.0";
        self.with(("labour", version), batch, LABOUR, &onnx::labour(), golden)
    }
}

/// Only `labour@1.0.0`.
pub(crate) fn labour() -> Packages {
    Packages::new().with_labour("1.0.0")
}

/// The same, whose golden example does so much work.
pub(crate) fn laborious(work: u64) -> Packages {
    Packages::new().with_work("1.0.0", work)
}

/// Only `lists@1.0.0`: `{items: [{x, work}, …]}`, up to 64 of them, of which only so many may wait.
pub(crate) fn lists(queue_limit: usize) -> Packages {
    let golden = json!({"items": [{"x": 7, "work": 3}]});
    let golden = (golden, json!({"results": [{"y": 7}]}));
    let batch = format!("max_size = 32\nqueue_limit = {queue_limit}");
    let model = onnx::labour();
    let packages = Packages::new().with(("lists", "1.0.0"), &batch, LABOUR, &model, golden);
    set_limit(&packages, "lists", "max_rows = 64");
    let file = packages.path().join("lists/1.0.0/package.toml");
    let manifest = fs::read_to_string(&file).unwrap();
    fs::write(file, format!("each = \"/items\"\n{manifest}")).unwrap();
    packages
}

/// Two versions of `labour`, of each of which so many rows may wait, with a high queue.
pub(super) fn narrow(queue_limit: usize) -> Packages {
    let packages = labour().with_labour("1.1.0");
    for version in ["1.0.0", "1.1.0"] {
        let limit = format!("[batch]\nqueue_limit = {queue_limit}\n");
        packages.change(("labour", version), "[batch]\n", &limit);
    }
    let high = "high_queue = true\n[limits]";
    packages.change(("labour", "1.0.0"), "[limits]", high);
    packages
}

/// Adds a line to the limits of a package.
pub(super) fn set_limit(packages: &Packages, name: &str, limit: &str) {
    let limited = format!("[limits]\n{limit}\n");
    packages.change((name, "1.0.0"), "[limits]\n", &limited);
}

//! The models as packages, and what is asked of them.

use crate::models::{self, FEATURES, LONGEST, SIDE, WORDS};
use crate::onnx::Graph;
use anyhow::Result;
use bytes::Bytes;
use clap::ValueEnum;
use image::{ImageFormat, RgbImage};
use inferq::Request;
use inferq::message::object::Object;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// A model of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Gives its features back.
    Noop,
    Mlp,
    Forest,
    Conv,
    /// Of texts whose lengths differ.
    Transformer,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Noop => "noop",
            Kind::Mlp => "mlp",
            Kind::Forest => "forest",
            Kind::Conv => "conv",
            Kind::Transformer => "transformer",
        }
    }

    /// Shape of a row of its input `x`.
    pub fn row(self) -> Vec<usize> {
        match self {
            Kind::Noop | Kind::Mlp | Kind::Forest => vec![FEATURES],
            Kind::Conv => vec![3, SIDE, SIDE],
            Kind::Transformer => vec![LONGEST],
        }
    }

    /// Most rows of a batch.
    pub fn max_size(self) -> usize {
        match self {
            Kind::Noop | Kind::Mlp | Kind::Forest => 256,
            Kind::Conv => 8,
            Kind::Transformer => 128,
        }
    }

    /// How many different things are asked. Of rows for a forest as many as no processor learns the branches of: over
    /// 64, whose order a batch repeats, ONNX Runtime alone runs twice as many a second as over these.
    pub fn variety(self) -> usize {
        match self {
            Kind::Noop | Kind::Mlp | Kind::Conv => 64,
            Kind::Transformer => 512,
            Kind::Forest => 8_192,
        }
    }

    fn graph(self) -> Graph {
        match self {
            Kind::Noop => models::noop(),
            Kind::Mlp => models::mlp(),
            Kind::Forest => models::forest(),
            Kind::Conv => models::conv(),
            Kind::Transformer => models::transformer(),
        }
    }

    fn input(self) -> String {
        if self == Kind::Conv {
            return format!(
                "[input.x]\ndtype = \"float32\"\n\n[input.x.image]\nwidth = {SIDE}\nheight = {SIDE}\ncolor = \"rgb\"\nscale = 0.00392156862745098\n"
            );
        }
        if self == Kind::Transformer {
            return format!(
                "[input.ids]\nsequence = {{ pointer = \"/tokens\", longest = {LONGEST} }}\n\n[input.mask]\nmask = true\n"
            );
        }
        let mut text = "[input.x]\ndtype = \"float32\"\ncolumns = [\n".to_owned();
        for feature in 0..FEATURES {
            let _ = writeln!(text, "  {{ pointer = \"/x/{feature}\" }},");
        }
        text + "]\n"
    }

    /// Writes the package with so many sessions of one thread each below `repository`; its model's file.
    pub fn write(self, repository: &Path, sessions: usize) -> Result<PathBuf> {
        let name = self.name();
        let folder = repository.join(name).join("1.0.0");
        fs::create_dir_all(folder.join("golden"))?;
        let manifest = format!(
            "format = 1\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"Costs what a model of its kind costs.\"\nowner = \"inferq benches\"\nlicense = \"Apache-2.0\"\n\n[batch]\nmax_size = {}\nqueue_limit = 65536\n\n[sessions]\ncount = {sessions}\n\n{}\n[outcome.score.number]\noutput = \"y\"\n",
            self.max_size(),
            self.input(),
        );
        fs::write(folder.join("package.toml"), manifest)?;
        let schema = "https://json-schema.org/draft/2020-12/schema";
        let response = json!({
            "$schema": schema,
            "type": "object",
            "properties": { "score": { "type": "number" } },
            "required": ["score"],
            "additionalProperties": false,
        });
        let request = match self {
            Kind::Conv => json!({ "$schema": schema }),
            Kind::Noop | Kind::Mlp | Kind::Forest => json!({
                "$schema": schema,
                "type": "object",
                "properties": { "x": { "type": "array", "items": { "type": "number" } } },
                "required": ["x"],
            }),
            Kind::Transformer => json!({
                "$schema": schema,
                "type": "object",
                "properties": { "tokens": { "type": "array", "items": { "type": "integer" } } },
                "required": ["tokens"],
            }),
        };
        for (place, object) in self.objects(4).into_iter().enumerate() {
            // Random weights say anything between 0 and 1.
            let mut golden = json!({ "outcome": { "score": 0.5 }, "tolerance": 0.99 });
            match object {
                Object::Value(value) => golden["request"] = value.root().to_value(),
                Object::Picture(picture) => {
                    let file = format!("{place}.jpg");
                    fs::write(folder.join("golden").join(&file), picture)?;
                    golden["picture"] = file.into();
                    golden["content_type"] = "image/jpeg".into();
                }
            }
            fs::write(
                folder.join(format!("golden/{place}.json")),
                serde_json::to_vec_pretty(&golden)?,
            )?;
        }
        for (file, content) in [
            ("request.schema.json", request),
            ("response.schema.json", response),
        ] {
            fs::write(folder.join(file), serde_json::to_vec_pretty(&content)?)?;
        }
        Ok(self.graph().write(&folder))
    }

    /// So many different things to ask about.
    pub fn objects(self, count: usize) -> Vec<Object> {
        let mut rng = StdRng::seed_from_u64(4);
        let one = |_| match self {
            Kind::Noop | Kind::Mlp | Kind::Forest => {
                let x: Vec<f64> = (0..FEATURES).map(|_| rng.random()).collect();
                Object::from(json!({ "x": x }))
            }
            Kind::Transformer => {
                let tokens: Vec<usize> = (0..words(&mut rng))
                    .map(|_| rng.random_range(0..WORDS))
                    .collect();
                Object::from(json!({ "tokens": tokens }))
            }
            Kind::Conv => {
                let side = SIDE as u32;
                let picture = RgbImage::from_fn(side, side, |x, y| {
                    let mut at = |shift: u32| ((x * y) >> shift) as u8 ^ rng.random_range(0..32);
                    [at(0), at(3), at(6)].into()
                });
                let mut file = Cursor::new(Vec::new());
                picture
                    .write_to(&mut file, ImageFormat::Jpeg)
                    .expect("a picture is written");
                Object::Picture(Bytes::from(file.into_inner()))
            }
        };
        (0..count).map(one).collect()
    }
}

/// How many words a text has: log-normal with a median of 32, σ of its logarithm 0.6, 1 to 128.
fn words(rng: &mut StdRng) -> usize {
    // Box and Muller 1958
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.random::<f64>()).cos();
    let words = (32.0 * (0.6 * normal).exp()).round();
    (words as usize).clamp(1, LONGEST)
}

/// How many words a text has.
pub fn length(text: &Object) -> usize {
    let Object::Value(text) = text else { return 0 };
    let tokens = text.root().to_value()["tokens"].take();
    tokens.as_array().map_or(0, Vec::len)
}

/// Asks a package about `object`.
pub fn request(kind: Kind, object: &Object) -> Request {
    Request {
        object: object.clone(),
        ..Request::new(kind.name(), Value::Null)
    }
}

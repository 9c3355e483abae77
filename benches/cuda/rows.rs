//! Rows of the models, made up: the same ones every time.

use anyhow::{Result, bail};
use half::f16;
use inferq::tensor::{Dtype, Row, RowLayout};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// What a model is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Picture,
    Text,
    Features,
}

/// How the engine is asked.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Most rows of a batch.
    pub max_size: usize,
    /// Rows of a request.
    pub each: usize,
    /// The size of the bare loop beside it.
    pub limit: usize,
}

impl Kind {
    pub fn of(model: &str) -> Result<Kind> {
        match model.split('_').next() {
            Some("resnet50") => Ok(Kind::Picture),
            Some("bert") => Ok(Kind::Text),
            Some("mlp") => Ok(Kind::Features),
            _ => bail!("{model} is neither resnet50, bert nor mlp"),
        }
    }

    pub fn longest(self) -> Option<usize> {
        (self == Kind::Text).then_some(128)
    }

    pub fn sizes(self) -> &'static [usize] {
        match self {
            Kind::Picture => &[1, 8, 16, 32, 64, 128],
            Kind::Text => &[1, 32, 64, 128, 256],
            Kind::Features => &[1, 64, 256, 1_024, 4_096, 32_768],
        }
    }

    /// How the engine is asked, where `best` is the bare loop's best size.
    pub fn cases(self, best: usize) -> Vec<Case> {
        let alone = |max_size, limit| Case {
            max_size,
            each: 1,
            limit,
        };
        match self {
            Kind::Picture if best == 64 => vec![alone(64, 64), alone(128, 128)],
            Kind::Picture => vec![alone(best, best), alone(64, 64)],
            // Texts are shorter than the longest, so that more of them are as much work.
            Kind::Text => [1_024, 2_048, 4_096]
                .map(|max_size| alone(max_size, best))
                .into(),
            Kind::Features => [1, 64]
                .map(|each| Case {
                    max_size: 1_024,
                    each,
                    limit: 1_024,
                })
                .into(),
        }
    }

    /// So many rows of `length` steps.
    pub fn rows(self, layout: &RowLayout, count: usize, length: usize) -> Vec<Row> {
        let mut rng = StdRng::seed_from_u64(7);
        (0..count)
            .map(|_| Self::row(layout, length, &mut rng))
            .collect()
    }

    /// Rows of many lengths: log-normal, median 32, at most the longest.
    pub fn mixed(self, layout: &RowLayout, count: usize) -> Vec<Row> {
        let mut rng = StdRng::seed_from_u64(11);
        let Some(longest) = self.longest() else {
            return self.rows(layout, count, 0);
        };
        let mut row = || {
            // Box and Muller's normal numbers.
            let (u, v): (f64, f64) = (rng.random_range(1e-9..1.0), rng.random());
            let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
            let length = (32.0 * (0.7 * normal).exp()).round() as usize;
            Self::row(layout, length.clamp(1, longest), &mut rng)
        };
        (0..count).map(|_| row()).collect()
    }

    fn row(layout: &RowLayout, length: usize, rng: &mut StdRng) -> Row {
        let mut row = layout.row(length);
        for slot in layout.slots() {
            let bytes = &mut row.bytes[slot.bytes(length)];
            match slot.dtype {
                Dtype::Float16 => {
                    for place in bytes.chunks_exact_mut(2) {
                        place.copy_from_slice(
                            &f16::from_f32(rng.random_range(-1.0..1.0)).to_ne_bytes(),
                        );
                    }
                }
                Dtype::Float32 => {
                    for place in bytes.chunks_exact_mut(4) {
                        place.copy_from_slice(&rng.random_range(-1.0_f32..1.0).to_ne_bytes());
                    }
                }
                Dtype::Int64 => {
                    let mask = slot.name.contains("mask");
                    for place in bytes.chunks_exact_mut(8) {
                        let token = if mask {
                            1
                        } else {
                            rng.random_range(1_000..20_000_i64)
                        };
                        place.copy_from_slice(&token.to_ne_bytes());
                    }
                }
                other => panic!("no model here takes {other}"),
            }
        }
        row
    }
}

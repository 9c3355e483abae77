//! `[input.NAME.image]` as it is written → an image input that runs; every fault is collected.

use std::collections::BTreeMap;

use super::{
    image::{Image, Refusal},
    nearest::{advice, dotted, listed},
    pointer::Pointer,
    spec::{Color, ImageSpec, Layout, RejectionSpec},
};
use crate::{
    fault::SpecFault,
    tensor::{Dtype, Slot},
};

/// The image input of `slot`. `alone` says whether requests can be raw pictures.
pub(super) fn image(
    spec: &ImageSpec,
    slot: &Slot,
    alone: bool,
    rejections: &BTreeMap<String, RejectionSpec>,
    faults: &mut Vec<SpecFault>,
) -> Image {
    let mut check = Check {
        key: format!("{}.image", dotted("input", &slot.name)),
        faults,
    };
    let pointer = check.pointer(spec, alone);
    check.shape(spec, slot);
    let tables = check.tables(spec, slot.dtype);
    if spec.max_pixels == 0 {
        check.fault(
            "max_pixels",
            "0",
            "the largest picture that is taken, in pixels",
            "write 16777216, or leave it out",
        );
    }
    let too_small = spec.too_small.as_ref().and_then(|rule| {
        for (part, least) in [("width", rule.width), ("height", rule.height)] {
            if least == 0 {
                check.fault(
                    &format!("too_small.{part}"),
                    "0",
                    "the least size of a picture, in pixels",
                    format!("write 1 where any {part} will do"),
                );
            }
        }
        let refusal = check.refusal("too_small.code", &rule.code, rejections)?;
        Some((rule.width, rule.height, refusal))
    });
    let blank = spec.blank.as_ref().and_then(|rule| {
        if rule.spread == 0 {
            check.fault(
                "blank.spread",
                "0",
                "1 to 255: pictures that span less are blank",
                "write 8, or take blank away",
            );
        }
        let refusal = check.refusal("blank.code", &rule.code, rejections)?;
        Some((rule.spread, refusal))
    });
    Image {
        pointer,
        width: spec.width,
        height: spec.height,
        color: spec.color,
        background: spec.background,
        resampler: spec.resampler,
        layout: spec.layout,
        dtype: slot.dtype,
        tables,
        max_pixels: spec.max_pixels,
        too_small,
        blank,
    }
}

struct Check<'f> {
    key: String,
    faults: &'f mut Vec<SpecFault>,
}

impl Check<'_> {
    fn fault(
        &mut self,
        part: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let key = format!("{}.{part}", self.key);
        self.faults.push(SpecFault::new(key, found, expected, mend));
    }

    fn pointer(&mut self, spec: &ImageSpec, alone: bool) -> Option<Pointer> {
        match &spec.pointer {
            Some(text) => Pointer::parse(text, format!("{}.pointer", self.key))
                .map_err(|fault| self.faults.push(fault))
                .ok(),
            None if alone => None,
            None => {
                self.fault(
                    "pointer",
                    "nothing",
                    "a JSON pointer to the picture, since a request is more than one picture",
                    "add pointer = \"/picture\"; requests carry it there as base64 text",
                );
                None
            }
        }
    }

    fn shape(&mut self, spec: &ImageSpec, slot: &Slot) {
        let (width, height) = (spec.width as usize, spec.height as usize);
        let channels = spec.color.channels();
        if width == 0 || height == 0 {
            self.fault(
                "width",
                format!("{width}×{height}"),
                "at least 1×1",
                "write the size of the model's input",
            );
            return;
        }
        let pixels = width.saturating_mul(height);
        let (shape, name) = match spec.layout {
            Layout::Nchw => (vec![channels, height, width], "nchw"),
            Layout::Nhwc => (vec![height, width, channels], "nhwc"),
            Layout::Flat => (vec![pixels.saturating_mul(channels)], "flat"),
        };
        // A grey model may leave its only channel out.
        let plane = spec.color == Color::Grey && slot.shape == [height, width];
        if shape != slot.shape && !plane {
            self.fault(
                "layout",
                format!("\"{name}\" of {width}×{height} pixels with {channels} channel(s): {shape:?}"),
                format!("{:?}, the shape of the model's rows", slot.shape),
                "mend layout, color, width or height: nchw is [channels, height, width], nhwc [height, width, channels], flat one number",
            );
        }
    }

    /// What each 8-bit sample becomes, by channel; empty where samples stay as they are.
    fn tables(&mut self, spec: &ImageSpec, dtype: Dtype) -> Vec<[f32; 256]> {
        let channels = spec.color.channels();
        let given = [
            ("scale", spec.scale.is_some()),
            ("mean", spec.mean.is_some()),
            ("std", spec.std.is_some()),
        ];
        match dtype {
            Dtype::Float16 | Dtype::Float32 | Dtype::Float64 => {}
            Dtype::Uint8 | Dtype::Int32 | Dtype::Int64 => {
                for (part, _) in given.iter().filter(|(_, given)| *given) {
                    self.fault(
                        part,
                        format!("it on a {dtype} input"),
                        "raw pixels from 0 to 255",
                        format!("leave {part} out: the model takes whole numbers"),
                    );
                }
                return Vec::new();
            }
            // Half of the samples are beyond 8 bits with a sign.
            Dtype::Int8 | Dtype::Bool | Dtype::String => {
                let found = format!("a picture for a {dtype} input");
                self.fault(
                    "color",
                    found,
                    "an input of numbers",
                    "describe this input with columns",
                );
                return Vec::new();
            }
        }
        let before = self.faults.len();
        for (part, values) in [("mean", &spec.mean), ("std", &spec.std)] {
            let Some(values) = values else { continue };
            if values.len() != channels {
                self.fault(
                    part,
                    format!("{} value(s)", values.len()),
                    format!("{channels}, one for each channel"),
                    format!("write {channels} value(s), in the order of the channels"),
                );
            }
            if !values.iter().all(|value| value.is_finite()) {
                self.fault(part, "nan or inf", "finite numbers", "write a number");
            }
        }
        if spec.std.iter().flatten().any(|std| *std == 0.0) {
            self.fault(
                "std",
                "0",
                "a divisor other than 0",
                "write 1.0 to leave the values as they are",
            );
        }
        if spec.scale.is_some_and(|scale| !scale.is_finite()) {
            self.fault(
                "scale",
                "nan or inf",
                "a finite number",
                "write 0.00392156862745098 for 1/255",
            );
        }
        if given.iter().all(|(_, given)| !given) {
            return Vec::new();
        }
        let tables = Self::values(spec, channels);
        let finite = tables.iter().flatten().all(|value| value.is_finite());
        if self.faults.len() == before && !finite {
            self.fault(
                "std",
                "scale, mean and std that make inf or nan of a sample",
                "(sample · scale - mean) / std to be finite for samples from 0 to 255",
                "mend scale or std: one is far too large or too small",
            );
        }
        tables
    }

    fn values(spec: &ImageSpec, channels: usize) -> Vec<[f32; 256]> {
        (0..channels)
            .map(|c| {
                let of = |values: &Option<Vec<f32>>, otherwise| {
                    let values = values.as_ref();
                    values.and_then(|v| v.get(c).copied()).unwrap_or(otherwise)
                };
                let (mean, std) = (of(&spec.mean, 0.0), of(&spec.std, 1.0));
                let scale = spec.scale.unwrap_or(1.0);
                let mut table = [0.0; 256];
                for (sample, value) in (0_u8..=255).zip(&mut table) {
                    *value = (f32::from(sample) * scale - mean) / std;
                }
                table
            })
            .collect()
    }

    fn refusal(
        &mut self,
        part: &str,
        code: &str,
        rejections: &BTreeMap<String, RejectionSpec>,
    ) -> Option<Refusal> {
        let Some(spec) = rejections.get(code) else {
            let known = || rejections.keys().map(String::as_str);
            self.fault(
                part,
                format!("{code:?}"),
                format!("a code that is declared; these are: {}", listed(known())),
                advice(
                    code,
                    known(),
                    format!(
                        "add {} with a title",
                        format_args!("[{}]", dotted("rejection", code))
                    ),
                ),
            );
            return None;
        };
        Some(Refusal {
            code: code.to_owned(),
            spec: spec.clone(),
        })
    }
}

//! An input made from one picture.

use base64::{Engine, engine::general_purpose::STANDARD};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images};
use half::f16;

use super::{
    column::type_of,
    picture::{Picture, Pixels},
    pointer::Pointer,
    spec::{Background, Color, Layout, RejectionSpec, Resampler},
};
use crate::{
    message::{
        document::{Kind, Node},
        rejection::{Code, Rejection, Stage},
    },
    tensor::Dtype,
};

/// The longest side that a JPEG can have; the resampler's memory grows with it.
const MAX_SIDE: u32 = 65_535;

/// Pixels that a picture may have when only its width is the model's, whatever `max_pixels` is.
const MAX_BETWEEN: u64 = 16_777_216;

/// An image input, ready to run.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) pointer: Option<Pointer>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) color: Color,
    pub(super) background: Background,
    pub(super) resampler: Resampler,
    pub(super) layout: Layout,
    pub(super) dtype: Dtype,
    /// What each 8-bit sample becomes, by channel; empty for raw samples.
    pub(super) tables: Vec<[f32; 256]>,
    pub(super) max_pixels: u64,
    pub(super) too_small: Option<(u32, u32, Refusal)>,
    pub(super) blank: Option<(u8, Refusal)>,
}

/// A rejection of the package's own.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) spec: RejectionSpec,
}

impl Refusal {
    fn rejection(&self) -> No {
        let code = Code::Package {
            code: self.code.clone().into(),
            retryable: self.spec.retryable,
        };
        No::Refused(Rejection::new(
            code,
            Stage::Represent,
            self.spec.title.clone(),
        ))
    }
}

/// Why a picture has no row.
pub(super) enum No {
    /// It cannot be used; what was expected and found.
    Unfit(String),
    /// The package does not want it.
    Refused(Rejection),
}

impl From<&'static str> for No {
    fn from(detail: &'static str) -> Self {
        No::Unfit(detail.to_owned())
    }
}

impl Color {
    /// Samples of a pixel.
    pub(super) fn channels(self) -> usize {
        match self {
            Color::Grey => 1,
            Color::Rgb => 3,
        }
    }
}

impl Image {
    /// Writes the picture at `value`, base64 text, into `out`.
    pub(super) fn write_base64(&self, value: Option<Node<'_>>, out: &mut [u8]) -> Result<(), No> {
        let text = match value.map(Node::kind) {
            Some(Kind::Text(text)) => text,
            None | Some(Kind::Null) => {
                return Err("expected a picture as base64 text, found nothing".into());
            }
            Some(_) => {
                let found = value.map_or("nothing", type_of);
                return Err(No::Unfit(format!(
                    "expected a picture as base64 text, found {found}"
                )));
            }
        };
        let bytes = STANDARD.decode(text).map_err(|_| {
            if text.starts_with("data:") {
                "expected plain base64, found a data URL: send what follows its comma"
            } else {
                "expected base64 text in the standard alphabet (RFC 4648, with padding), found other text"
            }
        })?;
        self.write(&bytes, out)
    }

    /// Writes the picture in `bytes`, a whole file, into `out`.
    pub(super) fn write(&self, bytes: &[u8], out: &mut [u8]) -> Result<(), No> {
        let picture = Picture::open(bytes, self.max_pixels)?;
        let (width, height) = picture.size();
        self.check_size(width, height)?;
        if let Some((least_width, least_height, refusal)) = &self.too_small
            && (width < *least_width || height < *least_height)
        {
            return Err(refusal.rejection());
        }
        let pixels = self.resize(picture.pixels(self.color, self.background)?)?;
        if let Some((spread, refusal)) = &self.blank {
            let darkest = pixels.iter().min().copied().unwrap_or_default();
            let brightest = pixels.iter().max().copied().unwrap_or_default();
            if brightest - darkest < *spread {
                return Err(refusal.rejection());
            }
        }
        self.lay_out(&pixels, out);
        Ok(())
    }

    /// Refuses what would take too much memory to decode or, far longer than wide, to resize.
    fn check_size(&self, width: u32, height: u32) -> Result<(), No> {
        let most = self.max_pixels;
        if u64::from(width) * u64::from(height) > most {
            return Err(No::Unfit(format!(
                "expected a picture of at most {most} pixels, found {width}×{height}: send a smaller one"
            )));
        }
        let between = u64::from(self.width) * u64::from(height);
        if width.max(height) > MAX_SIDE || between > most.max(MAX_BETWEEN) {
            return Err(No::Unfit(format!(
                "expected a picture whose sides are not so unlike, found {width}×{height}: send a part of it"
            )));
        }
        Ok(())
    }

    /// One axis after the other, rounded to 8 bits in between, as Pillow does it.
    fn resize(&self, picture: Pixels) -> Result<Vec<u8>, &'static str> {
        let (width, height) = (self.width, picture.height);
        let narrowed = self.resample(picture, width, height)?;
        Ok(self.resample(narrowed, self.width, self.height)?.bytes)
    }

    fn resample(&self, source: Pixels, width: u32, height: u32) -> Result<Pixels, &'static str> {
        if (source.width, source.height) == (width, height) {
            return Ok(source);
        }
        let algorithm = match self.resampler {
            Resampler::Nearest => ResizeAlg::Nearest,
            Resampler::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
            Resampler::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Resampler::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        };
        // Of 8-bit samples the library makes its sums with weights of 15 bits, which is up to 3 off; of
        // 16-bit samples with 31.
        let kind = match self.color {
            Color::Grey => PixelType::U16,
            Color::Rgb => PixelType::U16x3,
        };
        let broken = "the picture could not be resized: it is corrupt";
        let wide: Vec<u16> = source.bytes.into_iter().map(u16::from).collect();
        let wide = bytemuck::cast_slice(&wide);
        let view =
            images::ImageRef::new(source.width, source.height, wide, kind).map_err(|_| broken)?;
        let mut target = images::Image::new(width, height, kind);
        let options = ResizeOptions::new().resize_alg(algorithm);
        Resizer::new()
            .resize(&view, &mut target, &options)
            .map_err(|_| broken)?;
        let (samples, _) = target.buffer().as_chunks();
        let narrow = |sample: &[u8; 2]| u8::try_from(u16::from_ne_bytes(*sample));
        Ok(Pixels {
            width,
            height,
            bytes: samples
                .iter()
                .map(|s| narrow(s).unwrap_or(u8::MAX))
                .collect(),
        })
    }

    /// Interleaved samples → the model's order, values and type.
    fn lay_out(&self, pixels: &[u8], out: &mut [u8]) {
        let channels = self.color.channels();
        match self.layout {
            Layout::Nchw => {
                let planes = (0..channels).flat_map(|c| {
                    let plane = pixels.iter().skip(c).step_by(channels);
                    plane.map(move |sample| (c, *sample))
                });
                self.fill(planes, out);
            }
            Layout::Nhwc | Layout::Flat => {
                let channel = (0..channels).cycle();
                self.fill(channel.zip(pixels.iter().copied()), out);
            }
        }
    }

    fn fill(&self, samples: impl Iterator<Item = (usize, u8)>, out: &mut [u8]) {
        let tables = &self.tables;
        let value = |c: usize, sample: u8| match tables.get(c) {
            Some(table) => table.get(usize::from(sample)).copied().unwrap_or_default(),
            None => sample.into(),
        };
        match self.dtype {
            Dtype::Float16 => put(
                samples.map(|(c, s)| f16::from_f32(value(c, s)).to_ne_bytes()),
                out,
            ),
            Dtype::Float32 => put(samples.map(|(c, s)| value(c, s).to_ne_bytes()), out),
            Dtype::Float64 => put(
                samples.map(|(c, s)| f64::from(value(c, s)).to_ne_bytes()),
                out,
            ),
            Dtype::Uint8 => put(samples.map(|(_, s)| [s]), out),
            Dtype::Int32 => put(samples.map(|(_, s)| i32::from(s).to_ne_bytes()), out),
            Dtype::Int64 => put(samples.map(|(_, s)| i64::from(s).to_ne_bytes()), out),
            // Refused when the plan was compiled.
            Dtype::Int8 | Dtype::Bool | Dtype::String => {}
        }
    }
}

fn put<const N: usize>(elements: impl Iterator<Item = [u8; N]>, out: &mut [u8]) {
    let (places, _) = out.as_chunks_mut();
    for (place, element) in places.iter_mut().zip(elements) {
        *place = element;
    }
}

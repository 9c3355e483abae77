//! ONNX Runtime as it is used as a rule: its CUDA provider, tensors of the host in and out.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use half::f16;
use ort::{
    ep::{self, ExecutionProvider},
    session::{Session, builder::SessionBuilder},
    value::{DynValue, Tensor, TensorElementType, ValueType},
};

use crate::rows::Kind;

/// Seconds a run, by size.
pub fn sizes(
    library: &Path,
    model: &Path,
    (kind, ordinal): (Kind, usize),
    sizes: &[usize],
    lasts: Duration,
) -> Result<BTreeMap<usize, f64>> {
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    let open = || -> ort::Result<Session> {
        let mut builder = SessionBuilder::new(&environment)?;
        // As the engine has it: what is compared is where tensors are.
        ep::CUDA::default()
            .with_device_id(ordinal as i32)
            .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic)
            .with_prefer_nhwc(true)
            .with_tf32(false)
            .register(&mut builder)?;
        builder.commit_from_file(model)
    };
    let mut session = open()?;
    let time = |rows: &usize| {
        let inputs = session.inputs().iter().map(|input| {
            let ValueType::Tensor { ty, shape, .. } = input.dtype() else {
                bail!("{} is no tensor", input.name());
            };
            let longest = kind.longest().unwrap_or(1);
            let open = |(axis, dim): (usize, &i64)| match usize::try_from(*dim) {
                Ok(dim) => dim,
                Err(_) if axis == 0 => *rows,
                Err(_) => longest,
            };
            let dims: Vec<usize> = shape.iter().enumerate().map(open).collect();
            let value = tensor(*ty, dims, input.name().contains("mask"))?;
            Ok((input.name().to_owned(), value))
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let mut run = || -> Result<()> {
            let inputs: Vec<_> = inputs
                .iter()
                .map(|(name, value)| (name.as_str(), value))
                .collect();
            session.run(inputs)?;
            Ok(())
        };
        run()?;
        run()?;
        let (began, mut times) = (Instant::now(), 0);
        while began.elapsed() < lasts / 2 || times < 3 {
            run()?;
            times += 1;
        }
        Ok((*rows, began.elapsed().as_secs_f64() / f64::from(times)))
    };
    sizes.iter().map(time).collect()
}

fn tensor(element: TensorElementType, dims: Vec<usize>, mask: bool) -> Result<DynValue> {
    let count: usize = dims.iter().product();
    let float = |n: usize| (n * 7_919 % 997) as f32 / 997.0 - 0.5;
    Ok(match element {
        TensorElementType::Float32 => {
            Tensor::from_array((dims, (0..count).map(float).collect::<Vec<f32>>()))?.into_dyn()
        }
        TensorElementType::Float16 => {
            let values = (0..count).map(|n| f16::from_f32(float(n)));
            Tensor::from_array((dims, values.collect::<Vec<f16>>()))?.into_dyn()
        }
        TensorElementType::Int64 => {
            let values = (0..count).map(|n| {
                if mask {
                    1
                } else {
                    1_000 + n as i64 * 7_919 % 19_000
                }
            });
            Tensor::from_array((dims, values.collect::<Vec<i64>>()))?.into_dyn()
        }
        other => bail!("no model here takes {other}"),
    })
}

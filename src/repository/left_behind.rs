//! What a model's author is told of nodes that do not run on its GPU.

use std::collections::BTreeMap;

use crate::{fault::Fault, predict::DeviceId};

/// Operators of work on shapes, which ONNX Runtime leaves on the processor by choice.
const OF_SHAPES: &[&str] = &[
    "Add",
    "Cast",
    "Concat",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Expand",
    "Gather",
    "Mul",
    "Range",
    "ReduceProd",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Squeeze",
    "Sub",
    "Unsqueeze",
    "Where",
];

/// What is to be said where nodes of a model, of these operators and names, do not run on its GPU.
pub(super) fn left_behind(
    model: &str,
    device: DeviceId,
    left: Result<Vec<(String, String)>, Fault>,
) -> Option<String> {
    let left = match left {
        Ok(left) => left,
        Err(fault) => {
            return Some(format!(
                "{model}: whether all of it runs on {device} is not known ({fault}); it is live all the same"
            ));
        }
    };
    // By operator, those first that are of no work on shapes: how many, and the name of one.
    let mut operators: BTreeMap<(bool, &str), (usize, &str)> = BTreeMap::new();
    for (operator, name) in &left {
        let of_shapes = OF_SHAPES.contains(&operator.as_str());
        let of_it = operators.entry((of_shapes, operator)).or_insert((0, name));
        of_it.0 += 1;
    }
    let (&(of_shapes, _), _) = operators.first_key_value()?;
    let each = operators.iter().map(|((_, operator), (count, name))| {
        let name = if name.is_empty() {
            String::new()
        } else {
            format!(" ({name})")
        };
        format!("{count} {operator}{name}")
    });
    let each: Vec<_> = each.collect();
    let advice = if of_shapes {
        "ONNX Runtime leaves work on shapes there by choice"
    } else {
        "each run waits for copies there and back where rows pass through them; export the model without them if it can be"
    };
    Some(format!(
        "{model}: nodes on the processor and not on {device}: {}; {advice}",
        each.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gpu_does_not_run_is_told_by_operator_and_what_costs_copies_first() {
        let of = |nodes: &[(&str, &str)]| {
            let owned = nodes
                .iter()
                .map(|(operator, name)| (operator.to_string(), name.to_string()));
            left_behind("m.onnx", DeviceId::Cuda(1), Ok(owned.collect()))
        };
        assert_eq!(of(&[]), None);
        let shapes = [("Shape", "/a"), ("Shape", "/b"), ("Gather", "")];
        let told = of(&shapes).unwrap();
        let listed =
            "m.onnx: nodes on the processor and not on cuda:1: 1 Gather, 2 Shape (/a); ONNX";
        assert!(
            told.starts_with(listed) && !told.contains("export"),
            "{told}"
        );
        let told = of(&[&shapes[..], &[("NonMaxSuppression", "/nms")]].concat()).unwrap();
        assert!(
            told.contains("cuda:1: 1 NonMaxSuppression (/nms), 1 Gather"),
            "{told}"
        );
        assert!(
            told.ends_with("export the model without them if it can be"),
            "{told}"
        );
    }
}

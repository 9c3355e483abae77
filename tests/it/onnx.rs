//! Tiny ONNX models, encoded by hand: the protobuf wire format is a few lines, a Python with `onnx` is not.

#![allow(
    dead_code,
    reason = "shared by unit and integration tests; none uses every model"
)]

use std::path::{Path, PathBuf};

/// Element types as `onnx.proto` numbers them.
pub(crate) const FLOAT: i64 = 1;
pub(crate) const INT8: i64 = 3;
pub(crate) const INT64: i64 = 7;
pub(crate) const STRING: i64 = 8;
pub(crate) const BOOL: i64 = 9;
pub(crate) const FLOAT16: i64 = 10;
pub(crate) const DOUBLE: i64 = 11;
pub(crate) const BFLOAT16: i64 = 16;

/// A dimension that the graph leaves open.
pub(crate) const N: i64 = -1;
/// Another.
pub(crate) const STEPS: i64 = -2;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn int(field: u64, value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, field << 3);
    varint(&mut out, value.cast_unsigned());
    out
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, field << 3 | 2);
    varint(&mut out, value.len() as u64);
    out.extend_from_slice(value);
    out
}

fn text(field: u64, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

/// An attribute of a node.
pub(crate) enum Attr<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Floats(&'a [f32]),
    Text(&'a str),
    Texts(&'a [&'a str]),
}

impl Attr<'_> {
    fn encode(&self, name: &str) -> Vec<u8> {
        let (kind, content) = match self {
            Attr::Int(value) => (2, int(3, *value)),
            Attr::Text(value) => (3, text(4, value)),
            Attr::Floats(values) => {
                let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (6, bytes(7, &packed))
            }
            Attr::Ints(values) => (7, values.iter().flat_map(|v| int(8, *v)).collect()),
            Attr::Texts(values) => (8, values.iter().flat_map(|v| text(9, v)).collect()),
        };
        bytes(5, &[text(1, name), content, int(20, kind)].concat())
    }
}

/// A graph under construction. Names join nodes, as in ONNX.
#[derive(Default)]
pub(crate) struct Graph(Vec<u8>);

impl Graph {
    pub(crate) fn new() -> Self {
        Graph(text(2, "tiny"))
    }

    pub(crate) fn input(self, name: &str, dtype: i64, dims: &[i64]) -> Self {
        self.port(11, name, &tensor_type(dtype, dims))
    }

    pub(crate) fn output(self, name: &str, dtype: i64, dims: &[i64]) -> Self {
        self.port(12, name, &tensor_type(dtype, dims))
    }

    fn port(mut self, field: u64, name: &str, kind: &[u8]) -> Self {
        self.0
            .extend(bytes(field, &[text(1, name), bytes(2, kind)].concat()));
        self
    }

    pub(crate) fn node(self, op: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        self.node_with(op, inputs, outputs, &[])
    }

    fn node_with(mut self, op: &str, inputs: &[&str], outputs: &[&str], more: &[u8]) -> Self {
        let mut node = more.to_vec();
        node.extend(inputs.iter().flat_map(|name| text(1, name)));
        node.extend(outputs.iter().flat_map(|name| text(2, name)));
        node.extend([text(3, &outputs.concat()), text(4, op)].concat());
        self.0.extend(bytes(1, &node));
        self
    }

    /// A node with integer attributes.
    pub(crate) fn node_ints(
        self,
        op: &str,
        input: &[&str],
        output: &str,
        attrs: &[(&str, i64)],
    ) -> Self {
        let attr = |(name, value): &(&str, i64)| {
            bytes(5, &[text(1, name), int(3, *value), int(20, 2)].concat())
        };
        let attrs: Vec<u8> = attrs.iter().flat_map(attr).collect();
        self.node_with(op, input, &[output], &attrs)
    }

    /// A node with any attributes, of the operators of `domain`.
    pub(crate) fn node_attrs(
        self,
        (domain, op): (&str, &str),
        inputs: &[&str],
        output: &str,
        attrs: &[(&str, Attr<'_>)],
    ) -> Self {
        let attrs = attrs.iter().flat_map(|(name, attr)| attr.encode(name));
        let more: Vec<u8> = text(7, domain).into_iter().chain(attrs).collect();
        self.node_with(op, inputs, &[output], &more)
    }

    /// A node that runs another graph.
    fn node_graph(self, op: &str, inputs: &[&str], outputs: &[&str], body: &Graph) -> Self {
        let attr = [text(1, "body"), bytes(6, &body.0), int(20, 5)].concat();
        self.node_with(op, inputs, outputs, &bytes(5, &attr))
    }

    pub(crate) fn weights(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        let mut tensor: Vec<u8> = dims.iter().flat_map(|dim| int(1, *dim)).collect();
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensor.extend([int(2, FLOAT), text(8, name), bytes(9, &raw)].concat());
        self.0.extend(bytes(5, &tensor));
        self
    }

    /// A tensor of integers that never changes.
    pub(crate) fn integers(mut self, name: &str, values: &[i64]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = int(1, i64::try_from(values.len()).expect("few"));
        let tensor = [dims, int(2, INT64), text(8, name), bytes(9, &raw)].concat();
        self.0.extend(bytes(5, &tensor));
        self
    }

    /// The serialised `ModelProto`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let opset = |domain: &str, version| bytes(8, &[text(1, domain), int(2, version)].concat());
        [
            int(1, 8),
            opset("", 17),
            opset("ai.onnx.ml", 3),
            bytes(7, &self.0),
        ]
        .concat()
    }

    /// Writes `model.onnx` into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("model.onnx");
        std::fs::write(&path, self.encode()).expect("the model can be written");
        path
    }
}

fn tensor_type(dtype: i64, dims: &[i64]) -> Vec<u8> {
    let dim = |dim: &i64| {
        let dim = match *dim {
            N => text(2, "n"),
            STEPS => text(2, "steps"),
            size => int(1, size),
        };
        bytes(1, &dim)
    };
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    bytes(1, &[int(1, dtype), bytes(2, &shape)].concat())
}

/// `y = x`, of any type and shape.
pub(crate) fn identity(dtype: i64, dims: &[i64]) -> Graph {
    Graph::new()
        .input("x", dtype, dims)
        .output("y", dtype, dims)
        .node("Identity", &["x"], &["y"])
}

/// `y = x · [1 2 3]ᵀ + 0.5` over `x[N, 3]`.
pub(crate) fn linear() -> Graph {
    Graph::new()
        .input("x", FLOAT, &[N, 3])
        .output("y", FLOAT, &[N, 1])
        .weights("w", &[3, 1], &[1.0, 2.0, 3.0])
        .weights("b", &[1], &[0.5])
        .node("MatMul", &["x", "w"], &["product"])
        .node("Add", &["product", "b"], &["y"])
}

/// The greatest of the steps of `x[N, steps]`, padding included.
pub(crate) fn greatest() -> Graph {
    Graph::new()
        .input("x", FLOAT, &[N, STEPS])
        .output("y", FLOAT, &[N, 1])
        .node_attrs(
            ("", "ReduceMax"),
            &["x"],
            "y",
            &[("axes", Attr::Ints(&[1]))],
        )
}

/// The same of steps below zero: those at zero are taken for padding.
pub(crate) fn greatest_of_negatives() -> Graph {
    Graph::new()
        .input("x", FLOAT, &[N, STEPS])
        .output("y", FLOAT, &[N, 1])
        .weights("zero", &[1], &[0.0])
        .weights("least", &[1], &[-1e9])
        .node("Less", &["x", "zero"], &["real"])
        .node("Where", &["real", "x", "least"], &["masked"])
        .node_attrs(
            ("", "ReduceMax"),
            &["masked"],
            "y",
            &[("axes", Attr::Ints(&[1]))],
        )
}

/// Two rows out for each row in.
pub(crate) fn twice_the_rows() -> Graph {
    Graph::new()
        .input("x", FLOAT, &[N, 2])
        .output("y", FLOAT, &[N, 2])
        .node_ints("Concat", &["x", "x"], "y", &[("axis", 0)])
}

/// `y = ln x`: NaN where x < 0.
pub(crate) fn logarithm() -> Graph {
    Graph::new()
        .input("x", FLOAT, &[N, 1])
        .output("y", FLOAT, &[N, 1])
        .node("Log", &["x"], &["y"])
}

/// `y = [10 20 30][x]`: the whole run fails when any x is outside of -3..3.
pub(crate) fn lookup() -> Graph {
    Graph::new()
        .input("x", INT64, &[N, 1])
        .output("y", FLOAT, &[N, 1])
        .weights("table", &[3], &[10.0, 20.0, 30.0])
        .node("Gather", &["table", "x"], &["y"])
}

/// `y = x[N, 1]`, after as many turns of a loop as the largest of `work[N, 1]` says.
pub(crate) fn labour() -> Graph {
    let turn = Graph::new()
        .input("turn", INT64, &[])
        .input("go", BOOL, &[])
        .input("before", FLOAT, &[N, 1])
        .output("go_on", BOOL, &[])
        .output("after", FLOAT, &[N, 1])
        .node("Identity", &["go"], &["go_on"])
        .node("Identity", &["before"], &["after"]);
    Graph::new()
        .input("x", FLOAT, &[N, 1])
        .input("work", INT64, &[N, 1])
        .output("y", FLOAT, &[N, 1])
        .node_ints("ReduceMax", &["work"], "turns", &[("keepdims", 0)])
        .node_graph("Loop", &["turns", "", "x"], &["y"], &turn)
}

/// `y = x[N, 1]`, after one multiplication of two square matrices as wide as the largest of `work[N, 1]` says.
pub(crate) fn product() -> Graph {
    Graph::new()
        .input("x", FLOAT, &[N, 1])
        .input("work", INT64, &[N, 1])
        .output("y", FLOAT, &[N, 1])
        .node_ints("ReduceMax", &["work"], "one_by_one", &[("keepdims", 1)])
        .node_ints("ReduceMax", &["work"], "width", &[("keepdims", 0)])
        .node("Shape", &["one_by_one"], &["ones"])
        .node("Mul", &["ones", "width"], &["square"])
        .node("ConstantOfShape", &["square"], &["zeros"])
        .node("MatMul", &["zeros", "zeros"], &["product"])
        .node_ints("ReduceMax", &["product"], "zero", &[("keepdims", 0)])
        .node("Add", &["x", "zero"], &["y"])
}

/// `y = x` as each of the types that a package may meet, `x[N, 2]`.
pub(crate) fn casts() -> Graph {
    let graph = Graph::new().input("x", FLOAT, &[N, 2]);
    let cast = |graph: Graph, (name, to): (&str, i64)| {
        graph
            .output(name, to, &[N, 2])
            .node_ints("Cast", &["x"], name, &[("to", to)])
    };
    [
        ("half", FLOAT16),
        ("double", DOUBLE),
        ("int", INT64),
        ("bool", BOOL),
        ("text", STRING),
    ]
    .into_iter()
    .fold(graph, cast)
}

/// The sequence of maps that scikit-learn's converter makes unless told otherwise.
pub(crate) fn zipmap() -> Graph {
    let map = bytes(
        5,
        &[int(1, INT64), bytes(2, &tensor_type(FLOAT, &[]))].concat(),
    );
    let sequence = bytes(4, &bytes(1, &map));
    let labels = [
        text(1, "classlabels_int64s"),
        int(8, 0),
        int(8, 1),
        int(20, 7),
    ]
    .concat();
    let more = [text(7, "ai.onnx.ml"), bytes(5, &labels)].concat();
    Graph::new()
        .input("x", FLOAT, &[N, 2])
        .node_with("ZipMap", &["x"], &["output_probability"], &more)
        .port(12, "output_probability", &sequence)
}

//! What the fuzz targets share: packages in a folder that a target writes into, bound without a model.

use std::path::{Path, PathBuf};

use inferq::{
    package::{Package, PackageFault},
    tensor::{BatchAxis, Dtype, Port, Signature},
};

/// A package's folder, gone when dropped.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// The manifest of the sample package `name` beside schemas that take anything, and a model that nothing here
    /// runs.
    pub fn like(name: &str) -> Folder {
        let folder = Folder(tempfile::tempdir().expect("a folder for temporary files"));
        let manifest = std::fs::read(sample(name).join("package.toml"));
        folder.write("package.toml", &manifest.expect("a sample package"));
        folder.write("request.schema.json", b"{}");
        folder.write("response.schema.json", b"{}");
        folder.write("model.onnx", b"");
        folder
    }

    /// Puts `content` in the place of one of its files.
    pub fn write(&self, file: &str, content: &[u8]) {
        std::fs::write(self.0.path().join(file), content).expect("a writable folder");
    }

    /// The package, bound to a model of this signature.
    pub fn bind(&self, signature: &Signature) -> Result<Package, Vec<PackageFault>> {
        Package::draft(self.0.path())?.bind(signature)
    }
}

/// Where the sample package `name` lies.
pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../compose/packages/{name}/1.0.0"))
}

/// A request of the sample package `name`.
pub fn request(name: &str, golden: &str) -> serde_json::Value {
    let text = std::fs::read(sample(name).join("golden").join(golden)).expect("a golden example");
    let mut golden: serde_json::Value = serde_json::from_slice(&text).expect("a golden example");
    golden["request"].take()
}

/// An input or output whose rows are `width` of `dtype`.
pub fn port(name: &str, dtype: Dtype, shape: &[usize]) -> Port {
    Port {
        name: name.to_owned(),
        dtype,
        row_shape: shape.iter().map(|n| Some(*n)).collect(),
        batch: BatchAxis::Dynamic,
    }
}

/// The signature of a classifier.
pub fn classifier(inputs: Vec<Port>, classes: usize) -> Signature {
    Signature {
        inputs,
        outputs: vec![port("probabilities", Dtype::Float32, &[classes])],
    }
}

//! A package: manifest, model, schemas, golden examples.

//! The model repository: packages in folders, loaded whole or not at all.

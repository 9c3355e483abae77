//! Curves outlive the process that measured them: one file a curve in the state directory, named after what it was
//! measured of. Whatever is wrong with the directory costs a measurement at the next start, and nothing else.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::curve::Curve;
use crate::failpoint;

/// What a curve holds for. Anything else here, and it is measured anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The package's name.
    pub package: String,
    /// Digest of all its files, the model's among them.
    pub digest: String,
    /// What runs it, as in `cpu AMD EPYC 7763`.
    pub device: String,
    /// ONNX Runtime's version.
    pub library: String,
    /// Intra-op threads of a session.
    pub threads: usize,
    /// Sessions.
    pub sessions: usize,
    /// Cores that this process may use, by its quota.
    pub cores: usize,
    /// Most rows of a batch.
    pub max_size: usize,
}

/// A file of the state directory.
#[derive(Serialize, Deserialize)]
struct Kept {
    key: Key,
    curve: Curve,
    /// The best b as live batches showed it; the curve's own where none have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<usize>,
}

/// A curve that was kept, and the best b.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// t(b).
    pub curve: Curve,
    /// The best b that was in force: the curve may have another by now.
    pub best: usize,
}

/// No run takes so long.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// No curve is this large.
const MOST_BYTES: u64 = 1 << 20;

/// Why a curve is not kept, or not found although something is there.
#[derive(Debug, thiserror::Error)]
pub enum StateFault {
    /// The file cannot be read.
    #[error(
        "appetite.state_dir: {file} cannot be read ({reason}), expected a file or nothing in a directory of this user; the package is measured instead; make it so, or name another directory"
    )]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// The file holds something else.
    #[error(
        "appetite.state_dir: {file}: found {found}, expected a measurement of this package; it is measured instead, and the file written anew"
    )]
    Strange {
        /// Which.
        file: PathBuf,
        /// What is there.
        found: String,
    },
    /// The file cannot be written.
    #[error(
        "appetite.state_dir: {file} cannot be written ({reason}), expected room in a directory of this user; the measurement is used, and made again at the next start; make room, or name another directory"
    )]
    Unwritable {
        /// Which.
        file: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

/// The curve of this key, if it is there.
///
/// # Errors
/// What is there cannot be used.
pub fn recall(dir: &Path, key: &Key) -> Result<Option<Recalled>, StateFault> {
    let file = dir.join(name(key));
    let text = match read(&file) {
        Ok(text) => text,
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(StateFault::Unreadable { file, reason }),
    };
    let found = match serde_json::from_slice::<Kept>(&text) {
        Ok(kept) if kept.key != *key => "one of something else".to_owned(),
        Ok(kept) if kept.curve.most().max(kept.best.unwrap_or(1)) > key.max_size => {
            "sizes above batch.max_size".to_owned()
        }
        Ok(kept) if kept.curve.points().iter().any(|point| point.run > LONGEST) => {
            "runs of more than a day".to_owned()
        }
        Ok(Kept { curve, best, .. }) => {
            let best = best.unwrap_or(curve.best().rows).max(1);
            return Ok(Some(Recalled { curve, best }));
        }
        Err(error) => format!("something else (line {})", error.line()),
    };
    Err(StateFault::Strange { file, found })
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("no regular file"));
    }
    let mut text = Vec::new();
    File::open(file)?.take(MOST_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

/// Writes a curve beside the old one, and puts it in its place when it is whole. `best` is the best b where live
/// batches showed it.
///
/// # Errors
/// The directory cannot be made or written to.
pub fn keep(dir: &Path, key: &Key, curve: &Curve, best: Option<usize>) -> Result<(), StateFault> {
    let file = dir.join(name(key));
    let kept = Kept {
        key: key.clone(),
        curve: curve.clone(),
        best,
    };
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let mut text = serde_json::to_vec_pretty(&kept)?;
        text.push(b'\n');
        // Workers of other users may recall it.
        let mut new = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(dir)?;
        failpoint::room()?;
        new.write_all(&text)?;
        new.as_file().sync_all()?;
        new.persist(&file)?;
        Ok(())
    };
    write().map_err(|reason| StateFault::Unwritable { file, reason })
}

fn name(key: &Key) -> String {
    let text = serde_json::to_vec(key).unwrap_or_default();
    let hash = Sha256::digest(text);
    let hash = hash
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte));
    format!("{}-{hash:016x}.json", key.package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batcher::curve::Point;

    fn key() -> Key {
        Key {
            package: "fraud".into(),
            digest: "00ff".into(),
            device: "cpu".into(),
            library: "1.31.1".into(),
            threads: 1,
            sessions: 1,
            cores: 2,
            max_size: 64,
        }
    }

    fn curve() -> Curve {
        let run = Duration::from_micros(30);
        Curve::try_from(vec![Point { rows: 1, run }]).unwrap()
    }

    fn recalled(best: usize) -> Recalled {
        let curve = curve();
        Recalled { curve, best }
    }

    #[test]
    fn a_curve_is_found_again_under_its_key_and_under_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made/here");
        assert_eq!(recall(&dir, &key()).unwrap(), None);
        keep(&dir, &key(), &curve(), None).unwrap();
        assert_eq!(recall(&dir, &key()).unwrap(), Some(recalled(1)));
        let others = [
            Key {
                digest: "11ff".into(),
                ..key()
            },
            Key {
                device: "cuda:0".into(),
                ..key()
            },
            Key {
                library: "1.32.0".into(),
                ..key()
            },
            Key {
                threads: 2,
                ..key()
            },
            Key {
                sessions: 2,
                ..key()
            },
            Key { cores: 4, ..key() },
            Key {
                max_size: 65,
                ..key()
            },
        ];
        for other in others {
            assert_eq!(recall(&dir, &other).unwrap(), None, "{other:?}");
        }
        assert_eq!(
            fs::read_dir(&dir).unwrap().count(),
            1,
            "nothing half-written"
        );
    }

    #[test]
    fn the_size_that_was_in_force_is_found_again_where_the_curve_says_another() {
        let dir = tempfile::tempdir().unwrap();
        keep(dir.path(), &key(), &curve(), Some(48)).unwrap();
        assert_eq!(recall(dir.path(), &key()).unwrap(), Some(recalled(48)));
    }

    #[test]
    fn a_file_that_is_broken_or_another_ones_is_told_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name(&key()));
        let kept = Kept {
            key: Key { cores: 64, ..key() },
            curve: curve(),
            best: None,
        };
        let other = serde_json::to_string(&kept).unwrap();
        let mut points = Vec::from(curve());
        points.push(Point {
            rows: 65,
            ..points[0]
        });
        let kept = Kept {
            key: key(),
            curve: Curve::try_from(points).unwrap(),
            best: None,
        };
        let larger = serde_json::to_string(&kept).unwrap();
        let kept = Kept {
            key: key(),
            curve: curve(),
            best: Some(65),
        };
        let best = serde_json::to_string(&kept).unwrap();
        for text in ["", "{\"key\":", &other, &larger, &best] {
            fs::write(&file, text).unwrap();
            let fault = recall(dir.path(), &key()).unwrap_err();
            assert!(matches!(fault, StateFault::Strange { .. }), "{fault}");
            keep(dir.path(), &key(), &curve(), None).unwrap();
            assert_eq!(recall(dir.path(), &key()).unwrap(), Some(recalled(1)));
        }
    }

    #[test]
    fn a_directory_that_cannot_be_used_says_which_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        fs::write(&taken, "a file").unwrap();
        let told = keep(&taken, &key(), &curve(), None)
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("taken/fraud-") && told.contains("make room"),
            "{told}"
        );
        let fault = recall(&taken, &key()).unwrap_err();
        assert!(matches!(fault, StateFault::Unreadable { .. }), "{fault}");
        // A pipe, whose reader would wait for ever.
        let pipe = dir.path().join(name(&key()));
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let fault = recall(dir.path(), &key()).unwrap_err();
        assert!(matches!(fault, StateFault::Unreadable { .. }), "{fault}");
    }
}

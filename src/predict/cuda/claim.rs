//! Whether other inferqs of this machine run on a GPU: each says so by a name of the system's, which ends with the
//! process that has it.

use std::io;
#[cfg(target_os = "linux")]
use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

/// Says that this process runs on a GPU.
#[derive(Debug)]
pub(super) struct Claim {
    #[cfg(target_os = "linux")]
    _name: UnixListener,
}

/// Says that `process` runs on the GPU of this UUID, and tells whether others do, within this network namespace: what
/// containers keep from each other is not seen. `None` where another says so of a process of the same number, as two
/// containers of a pod may.
///
/// # Errors
/// What the system says where it has no such names, or does not show them.
#[cfg(target_os = "linux")]
pub(super) fn claim(uuid: [u8; 16], process: u32) -> io::Result<(Option<Claim>, bool)> {
    let gpu = format!("inferq/gpu/{:032x}/", u128::from_be_bytes(uuid));
    let own = format!("{gpu}{process}");
    // An abstract address: no file, and nothing is left of it when the process ends.
    let name = match UnixListener::bind_addr(&SocketAddr::from_abstract_name(&own)?) {
        Err(fault) if fault.kind() == io::ErrorKind::AddrInUse => return Ok((None, true)),
        bound => bound?,
    };
    let all = fs::read_to_string("/proc/net/unix")?;
    let mut names = all.lines().filter_map(|line| line.rsplit_once('@'));
    let others = names.any(|(_, name)| name.starts_with(&gpu) && name != own);
    Ok((Some(Claim { _name: name }), others))
}

/// Nothing is known of others here.
#[cfg(not(target_os = "linux"))]
pub(super) fn claim(_uuid: [u8; 16], _process: u32) -> io::Result<(Option<Claim>, bool)> {
    Ok((Some(Claim {}), false))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn others_on_the_same_gpu_are_seen_whoever_came_first_and_until_they_end() {
        // Of no GPU, and of no other process that runs this.
        let mut uuid = [0; 16];
        let own = std::process::id().to_be_bytes();
        uuid.iter_mut().zip(own).for_each(|(to, from)| *to = from);
        let mut another = uuid;
        another[15] = 1;
        let (first, others) = claim(uuid, 1).unwrap();
        assert!(!others);
        let (_elsewhere, others) = claim(another, 2).unwrap();
        assert!(!others, "on another GPU");
        let (second, others) = claim(uuid, 3).unwrap();
        assert!(others);
        let (none, others) = claim(uuid, 3).unwrap();
        assert!(none.is_none() && others, "of another container");
        drop(first);
        let (first, others) = claim(uuid, 1).unwrap();
        assert!(others, "it came back");
        drop((first, second));
        assert!(!claim(uuid, 4).unwrap().1);
    }
}

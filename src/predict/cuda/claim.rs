//! Whether another inferq of this machine runs on a GPU: each says so by a name of the system's, which ends with the
//! process that has it.

use std::io;
#[cfg(target_os = "linux")]
use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixListener},
};

/// Says that this process runs on the GPU of this UUID.
#[derive(Debug)]
pub(super) struct Claim {
    #[cfg(target_os = "linux")]
    _name: UnixListener,
}

/// `None` where another process says so already, within this network namespace: what containers keep from each other is
/// not seen.
///
/// # Errors
/// What the system says where it has no such names.
#[cfg(target_os = "linux")]
pub(super) fn claim(uuid: [u8; 16]) -> io::Result<Option<Claim>> {
    let name = format!("inferq/gpu/{:032x}", u128::from_be_bytes(uuid));
    // An abstract address: no file, and nothing is left of it when the process ends.
    let address = SocketAddr::from_abstract_name(name)?;
    match UnixListener::bind_addr(&address) {
        Ok(name) => Ok(Some(Claim { _name: name })),
        Err(fault) if fault.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Nothing is known of others here.
#[cfg(not(target_os = "linux"))]
pub(super) fn claim(_uuid: [u8; 16]) -> io::Result<Option<Claim>> {
    Ok(Some(Claim {}))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_second_is_told_and_nothing_is_left_behind() {
        // Of no GPU, and of no other process that runs this.
        let mut uuid = [0; 16];
        let process = std::process::id().to_be_bytes();
        uuid.iter_mut()
            .zip(process)
            .for_each(|(to, from)| *to = from);
        let mut other = uuid;
        other[15] = 1;
        let first = claim(uuid).unwrap().unwrap();
        assert!(claim(uuid).unwrap().is_none());
        assert!(claim(other).unwrap().is_some());
        drop(first);
        assert!(claim(uuid).unwrap().is_some());
    }
}

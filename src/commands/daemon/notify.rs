//! What a service manager is told: systemd's `sd_notify`, without its library.
//!
//! In: the socket's name as `NOTIFY_SOCKET` gives it. Out: datagrams. Never: reads the environment, fails because nobody
//! listens, waits for long.
//! Source: sd_notify(3).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A manager whose queue is full is given this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who wants to be told, and how often.
#[derive(Debug, Clone, Default)]
pub struct Manager {
    /// `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub socket: Option<OsString>,
    /// `WATCHDOG_USEC`: after so long without a sign of life the process is killed.
    pub watchdog: Option<Duration>,
}

/// Tells a manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    complained: std::sync::atomic::AtomicBool,
}

impl Notifier {
    /// For the socket of this name; without one, or where it cannot be used (which is logged), nobody is told.
    pub fn new(name: Option<&OsStr>) -> Notifier {
        let to = name.and_then(|name| match open(name) {
            Ok(to) => Some(to),
            Err(error) => {
                tracing::warn!("the service manager cannot be told anything: {}: {error}", name.display());
                None
            }
        });
        Notifier { to, complained: false.into() }
    }

    /// Tell it: `READY=1`, `STATUS=…`, lines of them.
    pub fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.to else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address)
            && !self.complained.swap(true, std::sync::atomic::Ordering::Relaxed)
        {
            tracing::warn!("the service manager cannot be told anything: {error}");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

#[cfg(target_os = "linux")]
fn abstract_name(name: &[u8]) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;

    fn received(listener: &UnixDatagram) -> String {
        listener.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut bytes = [0; 200];
        let length = listener.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        Notifier::new(Some(path.as_os_str())).tell("READY=1");
        assert_eq!(received(&listener), "READY=1");

        let name = format!("wal-r-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::new(Some(OsStr::new(&format!("@{name}")))).tell("STATUS=two\nWATCHDOG=1");
        assert_eq!(received(&listener), "STATUS=two\nWATCHDOG=1");
    }

    #[test]
    fn nobody_there_is_no_trouble() {
        let long = "/x".repeat(100);
        for name in [None, Some("/no/such/socket"), Some("relative"), Some("vsock:2:1"), Some(""), Some(&*long)] {
            let notifier = Notifier::new(name.map(OsStr::new));
            notifier.tell("READY=1");
            notifier.tell("STOPPING=1");
        }
    }
}

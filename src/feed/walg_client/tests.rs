//! A client against daemons that answer as they are told.

use super::*;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

const PATIENCE: Patience = Patience { connect: Duration::from_millis(300), answer: Duration::from_millis(300) };

struct Case {
    folder: tempfile::TempDir,
    destination: PathBuf,
}

impl Case {
    fn new() -> Case {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("RECOVERYXLOG");
        Case { folder, destination }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn fetch(&self) -> Result<Told, NoAnswer> {
        let file = "000000010000000000000005".parse().unwrap();
        fetch(&self.socket(), &file, &self.destination, PATIENCE)
    }

    /// A daemon that does this with the one connection it takes; what it was asked, and what the client made of it.
    fn against(&self, daemon: impl FnOnce(&mut UnixStream) + Send) -> (Vec<u8>, Result<Told, NoAnswer>) {
        let _ = std::fs::remove_file(self.socket());
        let listener = UnixListener::bind(self.socket()).unwrap();
        std::thread::scope(|scope| {
            let daemon = scope.spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 3];
                stream.read_exact(&mut head).unwrap();
                let mut body = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]])) - 3];
                stream.read_exact(&mut body).unwrap();
                daemon(&mut stream);
                [&head, &*body].concat()
            });
            let told = self.fetch();
            (daemon.join().unwrap(), told)
        })
    }

    fn deliver(&self, content: &str) {
        let beside = self.folder.path().join("new");
        std::fs::write(&beside, content).unwrap();
        std::fs::rename(beside, &self.destination).unwrap();
    }
}

#[test]
fn what_it_says_and_what_it_makes_of_the_answer() {
    let case = Case::new();
    let (asked, told) = case.against(|stream| {
        case.deliver("new");
        stream.write_all(b"O").unwrap();
    });
    assert!(matches!(told, Ok(Told::Delivered)), "{told:?}");
    let path = case.destination.to_str().unwrap();
    let length = |length: usize| (length as u16).to_be_bytes();
    let name = b"000000010000000000000005";
    let wanted = [b"f", &length(32 + path.len())[..], &[2, 0, 24], name, &length(path.len()), path.as_bytes()].concat();
    assert_eq!(asked, wanted);

    // What was there before is no delivery.
    for (what, content) in [("nothing new", Some("old")), ("nothing", None)] {
        match content {
            Some(content) => case.deliver(content),
            None => std::fs::remove_file(&case.destination).unwrap(),
        }
        let (_, told) = case.against(|stream| stream.write_all(b"O").unwrap());
        assert!(matches!(told, Err(NoAnswer::Lied)), "{what}: {told:?}");
    }
    let (_, told) = case.against(|stream| stream.write_all(b"N").unwrap());
    assert!(matches!(told, Ok(Told::Absent)), "{told:?}");
    let (_, told) = case.against(|stream| stream.write_all(b"E").unwrap());
    assert!(matches!(told, Err(NoAnswer::Failed)), "{told:?}");
    let (_, told) = case.against(|stream| stream.write_all(b"HTTP/1.1 400").unwrap());
    assert!(matches!(told, Err(NoAnswer::Odd(b'H'))), "{told:?}");
    let (_, told) = case.against(|_| {});
    assert!(matches!(told, Err(NoAnswer::Closed)), "{told:?}");
    let begun = Instant::now();
    let (_, told) = case.against(|_| std::thread::sleep(2 * PATIENCE.answer));
    assert!(matches!(told, Err(NoAnswer::Silent(_))), "{told:?}");
    assert!(begun.elapsed() >= PATIENCE.answer);
}

#[test]
fn nobody_there() {
    let case = Case::new();
    let why = |told: Result<Told, NoAnswer>| match told {
        Err(NoAnswer::Connect(error)) => error.kind(),
        told => panic!("{told:?}"),
    };
    assert_eq!(why(case.fetch()), ErrorKind::NotFound);
    std::fs::write(case.socket(), "").unwrap();
    assert_eq!(why(case.fetch()), ErrorKind::ConnectionRefused);
    std::fs::remove_file(case.socket()).unwrap();
    drop(UnixListener::bind(case.socket()).unwrap());
    assert_eq!(why(case.fetch()), ErrorKind::ConnectionRefused);
    let long = case.folder.path().join("x".repeat(200));
    let file = "000000010000000000000005".parse().unwrap();
    assert!(matches!(fetch(&long, &file, &case.destination, PATIENCE), Err(NoAnswer::Connect(_))));
}

/// A daemon that hangs takes no more connections at some point.
#[test]
fn a_full_queue_is_not_waited_for_without_end() {
    let case = Case::new();
    let listener = UnixListener::bind(case.socket()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        match connect(&case.socket(), Duration::from_millis(50)) {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error.kind(),
        }
        assert!(waiting.len() < 10);
    };
    assert_eq!(full, ErrorKind::TimedOut);
    // It goes on, and so does who waited.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            let _ = listener.accept().unwrap();
        });
        assert!(connect(&case.socket(), Duration::from_secs(10)).is_ok());
    });
}

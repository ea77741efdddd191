//! The daemon in process, with clients that write the original's bytes and somebody who serves as he is told.

use super::*;
use crate::feed::deliver::Landing;
use std::fs;
use std::os::unix::net::UnixDatagram;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

const FIRST: &str = "000000010000000000000001";
const SECOND: &str = "000000010000000000000002";
/// Not there.
const THIRD: &str = "000000010000000000000003";
/// Damaged.
const FOURTH: &str = "000000010000000000000004";

/// Delivers a file's own name as its content. What is slow waits until it is let go.
#[derive(Debug)]
struct Told {
    slow: &'static str,
    turns: Turns,
    let_go: Semaphore,
    begun: Semaphore,
}

#[async_trait]
impl Serves for Told {
    async fn fetch(&self, ticket: &Ticket<'_>) -> Answer<Served> {
        let name = ticket.file().to_string();
        let _turn = self.turns.take(ticket).await?;
        self.begun.add_permits(1);
        if name == self.slow {
            self.let_go.acquire().await.unwrap().forget();
        }
        match &*name {
            FOURTH => return Err(Error::new(Code::DamagedSegment, "bad").on(name)),
            THIRD => return Ok(Served { delivered: false, notes: vec!["the end".into()], warnings: Vec::new() }),
            _ => {}
        }
        let landing = Landing::open(ticket.destination())?;
        landing.writer()?.write(name.as_bytes(), None)?;
        ticket.publish(landing, false)?;
        Ok(Served { delivered: true, notes: Vec::new(), warnings: Vec::new() })
    }
}

struct Stage {
    folder: tempfile::TempDir,
    told: Arc<Told>,
    stop: watch::Sender<Stop>,
    daemon: JoinHandle<Answer<Report>>,
}

impl Stage {
    /// A running daemon.
    async fn new(slow: &'static str, change: impl FnOnce(&mut Options)) -> Stage {
        Stage::with_turns(100, slow, change).await
    }

    async fn with_turns(turns: usize, slow: &'static str, change: impl FnOnce(&mut Options)) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("data/pg_wal")).unwrap();
        let mut options = Options {
            socket: folder.path().join("socket"),
            data: folder.path().join("data"),
            limits: Limits::USUAL,
            manager: Manager::default(),
        };
        change(&mut options);
        let told =
            Arc::new(Told { slow, turns: Turns::new(turns), let_go: Semaphore::new(0), begun: Semaphore::new(0) });
        let (stop, stopped) = watch::channel(Stop::No);
        let serves = told.clone();
        let daemon = tokio::spawn(async move { serve(&options, serves, stopped).await });
        let stage = Stage { folder, told, stop, daemon };
        while !stage.folder.path().join("socket").exists() {
            sleep(Duration::from_millis(1)).await;
        }
        stage
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.folder.path().join("socket")).await.unwrap()
    }

    /// All that is answered to these bytes, to the end of the connection.
    async fn say(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }

    async fn fetch(&self, name: &str, destination: &str) -> Vec<u8> {
        self.say(&frame(name, destination)).await
    }

    /// Somebody who asks for a slow file; it is being served when this returns.
    async fn wait_for(&self, name: &str) -> UnixStream {
        let mut stream = self.connect().await;
        stream.write_all(&frame(name, "pg_wal/RECOVERYXLOG")).await.unwrap();
        self.told.begun.acquire().await.unwrap().forget();
        stream
    }

    fn delivered(&self) -> Option<String> {
        fs::read_to_string(self.folder.path().join("data/pg_wal/RECOVERYXLOG")).ok()
    }

    async fn end(self) -> Report {
        self.stop.send_replace(Stop::InOrder);
        let report = timeout(Duration::from_secs(20), self.daemon).await.unwrap().unwrap().unwrap();
        let left: Vec<_> = fs::read_dir(self.folder.path().join("data/pg_wal")).unwrap().collect();
        assert!(left.iter().all(|left| left.as_ref().unwrap().file_name() == "RECOVERYXLOG"), "{left:?}");
        assert!(!self.folder.path().join("socket").exists(), "the socket is left");
        report
    }
}

/// As the original's client writes it.
fn frame(name: &str, destination: &str) -> Vec<u8> {
    let mut frame = vec![b'f'];
    frame.extend(((3 + 1 + 2 + name.len() + 2 + destination.len()) as u16).to_be_bytes());
    frame.push(2);
    for argument in [name, destination] {
        frame.extend((argument.len() as u16).to_be_bytes());
        frame.extend(argument.bytes());
    }
    frame
}

async fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn what_is_asked_and_answered() {
    let stage = Stage::new("", |_| {}).await;
    assert_eq!(stage.fetch(FIRST, "pg_wal/RECOVERYXLOG").await, b"O");
    assert_eq!(stage.delivered().as_deref(), Some(FIRST));
    assert_eq!(stage.fetch(SECOND, "pg_wal/RECOVERYXLOG").await, b"O");
    assert_eq!(stage.delivered().as_deref(), Some(SECOND));
    assert_eq!(stage.fetch(THIRD, "pg_wal/RECOVERYXLOG").await, b"N");
    assert_eq!(stage.fetch(FOURTH, "pg_wal/RECOVERYXLOG").await, b"E");
    // After a check the connection stays open; after a fetch it does not.
    let mut stream = stage.connect().await;
    let mut answer = [0];
    for _ in 0..3 {
        stream.write_all(b"C\0\x03").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"O");
    }
    stream.write_all(&frame(FIRST, "pg_wal/RECOVERYXLOG")).await.unwrap();
    assert_eq!(rest(&mut stream).await, b"O");
    let all = [b"C\0\x08CHECK", &*frame(THIRD, "pg_wal/RECOVERYXLOG"), b"C\0\x03"].concat();
    assert_eq!(stage.say(&all).await, b"ON");
    // Byte by byte.
    let mut stream = stage.connect().await;
    for byte in frame(SECOND, "pg_wal/RECOVERYXLOG") {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(rest(&mut stream).await, b"O");
    assert_eq!(stage.delivered().as_deref(), Some(SECOND));
    assert_eq!(stage.end().await, Report { delivered: 4, absent: 2, failed: 1, left: 0 });
}

#[tokio::test]
async fn what_is_refused() {
    let stage = Stage::new("", |options| options.limits.frame = Duration::from_millis(200)).await;
    let inner = |name: &str, destination: &str| frame(name, destination);
    let outside = stage.folder.path().join("pg_wal/RECOVERYXLOG");
    let rows: Vec<Vec<u8>> = vec![
        // Archiving.
        b"F\0\x1b000000010000000000000001".to_vec(),
        b"F\0\x03".to_vec(),
        // No requests.
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\0".to_vec(),
        b"C\0\x02".to_vec(),
        b"f\0\x1b000000010000000000000001".to_vec(),
        // Half of one, and silence.
        b"f".to_vec(),
        b"f\xff\xff\x02".to_vec(),
        // No names of an archive, no destinations of the data directory.
        inner("../../etc/passwd", "pg_wal/RECOVERYXLOG"),
        inner("", "pg_wal/RECOVERYXLOG"),
        inner(FIRST, ""),
        inner(FIRST, "/"),
        inner(FIRST, "pg_wal/"),
        inner(FIRST, "pg_wal/.."),
        inner(FIRST, "../RECOVERYXLOG"),
        inner(FIRST, "pg_wal/../../RECOVERYXLOG"),
        inner(FIRST, "pg_wal/RECOVERY\0XLOG"),
        inner(FIRST, "/etc/passwd"),
        inner(FIRST, outside.to_str().unwrap()),
        // Nowhere, and a directory.
        inner(FIRST, "none/RECOVERYXLOG"),
        inner(FIRST, "pg_wal"),
    ];
    let count = rows.len() as u64;
    for row in rows {
        assert_eq!(stage.say(&row).await, b"E", "{:?}", String::from_utf8_lossy(&row));
    }
    assert_eq!(stage.delivered(), None);
    assert_eq!(stage.end().await, Report { failed: count, ..Report::default() });
}

#[test]
fn destinations() {
    let folder = tempfile::tempdir().unwrap();
    let (data, link) = (folder.path().join("data"), folder.path().join("link"));
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::symlink(&data, &link).unwrap();
    let by = |data: &Path, named: &str, sent: &str| place(data, Path::new(named), sent.as_bytes()).ok();
    let real = fs::canonicalize(&data).unwrap();
    let there = |base: &Path, inner: &str| Some(base.join(inner));
    let absolute = |base: &Path| base.join("pg_wal/X").into_os_string().into_string().unwrap();
    for (named, sent, wanted) in [
        ("link", "pg_wal/X".to_owned(), there(&link, "pg_wal/X")),
        ("link", "./pg_wal//X".to_owned(), there(&link, "pg_wal/X")),
        // PostgreSQL's own idea of where it is has no links in it.
        ("link", absolute(&link), there(&link, "pg_wal/X")),
        ("link", absolute(&real), there(&link, "pg_wal/X")),
        // As it was set, relative to where the daemon was started.
        ("link", "link/pg_wal/X".to_owned(), there(&link, "pg_wal/X")),
        ("link", "/pg_wal/X".to_owned(), None),
        ("link", absolute(&folder.path().join("data2")), None),
        ("link", format!("{}/../X", real.display()), None),
        ("link", real.display().to_string(), None),
        ("link", "..".to_owned(), None),
        ("link", ".".to_owned(), None),
    ] {
        assert_eq!(by(&link, named, &sent), wanted, "{sent}");
    }
    // Not there yet: what is sent still has its place.
    let later = folder.path().join("later");
    assert_eq!(by(&later, "later", "pg_wal/X"), there(&later, "pg_wal/X"));
}

#[tokio::test]
async fn nothing_is_delivered_for_a_client_that_is_gone() {
    let stage = Stage::new(FIRST, |_| {}).await;
    for _ in 0..20 {
        let stream = stage.wait_for(FIRST).await;
        drop(stream);
        // Before anybody looked whether it is still there.
        stage.told.let_go.add_permits(1);
        // The next one's is served as if nothing had been.
        assert_eq!(stage.fetch(SECOND, "pg_wal/RECOVERYXLOG").await, b"O");
        stage.told.begun.acquire().await.unwrap().forget();
        assert_eq!(stage.delivered().as_deref(), Some(SECOND));
        fs::remove_file(stage.folder.path().join("data/pg_wal/RECOVERYXLOG")).unwrap();
    }
    sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.delivered(), None);
    // Nobody has to let it go: what is not wanted ends by itself.
    let stream = stage.wait_for(FIRST).await;
    drop(stream);
    let report = stage.end().await;
    assert_eq!((report.delivered, report.left, report.failed), (20, 21, 0));
}

#[tokio::test]
async fn a_client_that_has_nothing_more_to_say_still_listens() {
    let stage = Stage::new(FIRST, |_| {}).await;
    let mut stream = stage.wait_for(FIRST).await;
    stream.shutdown().await.unwrap();
    sleep(Duration::from_millis(250)).await;
    stage.told.let_go.add_permits(1);
    assert_eq!(rest(&mut stream).await, b"O");
    assert_eq!(stage.delivered().as_deref(), Some(FIRST));
    stage.end().await;
}

/// A client that outlived its server: the next server's file must not be replaced by what it asked for.
#[tokio::test]
async fn who_asks_later_for_another_file_has_the_place() {
    let stage = Stage::new(FIRST, |_| {}).await;
    let mut early = stage.wait_for(FIRST).await;
    assert_eq!(stage.fetch(SECOND, "pg_wal/RECOVERYXLOG").await, b"O");
    stage.told.begun.acquire().await.unwrap().forget();
    stage.told.let_go.add_permits(1);
    assert_eq!(rest(&mut early).await, b"E");
    assert_eq!(stage.delivered().as_deref(), Some(SECOND));

    // The same file, asked for many times, is no quarrel; neither is another place.
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(stage.wait_for(FIRST).await);
    }
    assert_eq!(stage.fetch(SECOND, "pg_wal/other").await, b"O");
    fs::remove_file(stage.folder.path().join("data/pg_wal/other")).unwrap();
    stage.told.let_go.add_permits(6);
    for mut stream in all {
        assert_eq!(rest(&mut stream).await, b"O");
    }
    assert_eq!(stage.delivered().as_deref(), Some(FIRST));
    stage.end().await;
}

#[tokio::test]
async fn many_that_stall_keep_nobody_waiting() {
    let stage = Stage::new(FIRST, |options| options.limits.connections = 4).await;
    let mut stalled = Vec::new();
    for number in 0..20 {
        let mut stream = stage.connect().await;
        if number % 2 == 0 {
            stream.write_all(b"f\0").await.unwrap();
        }
        stalled.push(stream);
    }
    let begun = Instant::now();
    assert_eq!(stage.fetch(SECOND, "pg_wal/RECOVERYXLOG").await, b"O");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    stage.told.begun.acquire().await.unwrap().forget();
    // Those that work keep their seats, and one more is told so at once.
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(stage.wait_for(FIRST).await);
    }
    let mut turned_away = stage.connect().await;
    assert_eq!(rest(&mut turned_away).await, b"E");
    stage.told.let_go.add_permits(4);
    for mut stream in all {
        assert_eq!(rest(&mut stream).await, b"O");
    }
    drop(stalled);
    stage.end().await;
}

#[tokio::test]
async fn who_waits_behind_others_hears_in_time() {
    let change = |options: &mut Options| options.limits.deadline = Duration::from_millis(300);
    let stage = Stage::with_turns(1, FIRST, change).await;
    let mut first = stage.wait_for(FIRST).await;
    assert_eq!(stage.fetch(SECOND, "pg_wal/other").await, b"E");
    stage.told.let_go.add_permits(1);
    assert_eq!(rest(&mut first).await, b"O");
    stage.end().await;
}

#[tokio::test]
async fn it_stops_in_order() {
    let stage = Stage::new(FIRST, |_| {}).await;
    let mut idle = stage.connect().await;
    idle.write_all(b"C\0\x03").await.unwrap();
    idle.read_exact(&mut [0]).await.unwrap();
    let mut running = stage.wait_for(FIRST).await;
    stage.stop.send_replace(Stop::InOrder);
    assert_eq!(rest(&mut idle).await, b"", "who has no request goes at once");
    while stage.folder.path().join("socket").exists() {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!stage.daemon.is_finished());
    stage.told.let_go.add_permits(1);
    assert_eq!(rest(&mut running).await, b"O", "what runs is finished");
    assert_eq!(stage.delivered().as_deref(), Some(FIRST));
    stage.end().await;

    let stage = Stage::new(FIRST, |_| {}).await;
    let mut running = stage.wait_for(FIRST).await;
    stage.stop.send_replace(Stop::Now);
    assert_eq!(rest(&mut running).await, b"");
    assert_eq!(stage.end().await, Report::default());
}

#[tokio::test]
async fn the_service_manager_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let listener = UnixDatagram::bind(&path).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let stage = Stage::new("", |options| {
        options.manager = Manager { socket: Some(path.into()), watchdog: Some(Duration::from_millis(100)) };
    })
    .await;
    let hear = tokio::task::spawn_blocking(move || {
        let mut told = Vec::new();
        let mut bytes = [0; 500];
        while told.last().is_none_or(|last: &String| !last.starts_with("STOPPING=1")) {
            let length = listener.recv(&mut bytes).unwrap();
            told.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        told
    });
    sleep(Duration::from_millis(500)).await;
    stage.end().await;
    let told = hear.await.unwrap();
    assert!(told[0].starts_with("READY=1\nSTATUS=Serving "), "{told:?}");
    let alive = told.iter().filter(|line| *line == "WATCHDOG=1").count();
    assert!(alive >= 3, "{told:?}");
}

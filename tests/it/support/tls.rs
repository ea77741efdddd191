//! TLS before a server that has none, with a certificate that is another from one connection to the next.
//!
//! In: a port of this machine, which [`Shown`] to show. Out: a port to talk to, the authority to trust, how many clients
//! turned away. Never: looks at what goes through; keeps a session from one certificate to the next.

use super::scratch::give;
use super::{Scratch, free_port};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The certificate that a client gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// For localhost, of the authority that is trusted.
    Good,
    /// The same, past its time.
    Expired,
    /// The same, before its time.
    NotYet,
    /// Good for another host.
    OfAnotherHost,
    /// Of an authority that nobody trusts.
    OfAnotherAuthority,
    /// Of an authority that was made anew under the name of the trusted one.
    OfItsNamesake,
    /// None: the handshake is cut.
    Nothing,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("an authority")
}

fn acceptor(host: &str, from: i32, until: i32, authority: &Authority) -> TlsAcceptor {
    let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, host);
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate").der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key is a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    TlsAcceptor::from(Arc::new(config))
}

struct Shared {
    upstream: u16,
    shown: Mutex<Shown>,
    turned_away: AtomicUsize,
    acceptors: Vec<(Shown, TlsAcceptor)>,
}

/// A running front.
pub struct Front {
    port: u16,
    shared: Arc<Shared>,
    trusted: PathBuf,
    /// Ends with the front, and all connections with it.
    _runtime: tokio::runtime::Runtime,
}

impl Front {
    /// Before the server on this port of 127.0.0.1; shows what is good at first.
    pub fn before(upstream: u16, scratch: &Scratch) -> Front {
        let (trusted, stranger, namesake) = (authority("Trusted"), authority("Stranger"), authority("Trusted"));
        let acceptors = vec![
            (Shown::Good, acceptor("localhost", 2020, 2120, &trusted)),
            (Shown::Expired, acceptor("localhost", 2020, 2021, &trusted)),
            (Shown::NotYet, acceptor("localhost", 2119, 2120, &trusted)),
            (Shown::OfAnotherHost, acceptor("elsewhere.invalid", 2020, 2120, &trusted)),
            (Shown::OfAnotherAuthority, acceptor("localhost", 2020, 2120, &stranger)),
            (Shown::OfItsNamesake, acceptor("localhost", 2020, 2120, &namesake)),
        ];
        let file = scratch.join("trusted.pem");
        std::fs::write(&file, trusted.pem()).expect("a file for whom to trust");
        give(&file);
        let (shown, turned_away) = (Mutex::new(Shown::Good), AtomicUsize::new(0));
        let shared = Arc::new(Shared { upstream, shown, turned_away, acceptors });
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let port = free_port();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port))).expect("a port that was free");
        let inside = shared.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(inside.clone(), client));
            }
        });
        Front { port, shared, trusted: file, _runtime: runtime }
    }

    /// `https://localhost:PORT`
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The file with the authority that a client must trust.
    pub fn trusted(&self) -> String {
        self.trusted.display().to_string()
    }

    /// From now on, what a client gets to see.
    pub fn show(&self, shown: Shown) {
        *self.shared.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    /// How many clients did not like what they saw, so far.
    pub fn turned_away(&self) -> usize {
        self.shared.turned_away.load(Ordering::SeqCst)
    }
}

async fn serve(shared: Arc<Shared>, mut client: TcpStream) {
    let shown = *shared.shown.lock().unwrap_or_else(PoisonError::into_inner);
    let acceptor = shared.acceptors.iter().find(|(of, _)| *of == shown);
    let agreed = match acceptor {
        Some((_, acceptor)) => acceptor.accept(client).await,
        None => {
            // What the client said is taken, so that it sees an end and not a reset.
            let mut hello = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut client, &mut hello).await;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
    };
    let Ok(mut client) = agreed else {
        shared.turned_away.fetch_add(1, Ordering::SeqCst);
        return;
    };
    // Whichever side goes away first: no fault of the front's.
    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", shared.upstream)).await {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

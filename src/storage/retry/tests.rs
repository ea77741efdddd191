use super::*;
use crate::storage::memory::MemoryStore;
use crate::storage::{StoreWrite, When};
use crate::testing::contract;
use crate::testing::faulty::{Call, Fault, FaultPlan, FaultyStore, FaultyWriter, Moment, hasty};
use futures::TryStreamExt;
use proptest::prelude::*;

const LEN: usize = 1_000_000;

fn content() -> Vec<u8> {
    (0..LEN).map(|at| (at * 7 + at / 256) as u8).collect()
}

fn memory() -> MemoryStore {
    let store = MemoryStore::new();
    store.insert("object", content());
    for number in 0..2500 {
        store.insert(&format!("many/{number:06}"), vec![0]);
    }
    store
}

/// A faulty store with its retries, no jitter.
fn retrying(plan: FaultPlan, policy: RetryPolicy) -> (FaultyStore, Retrying) {
    let faulty = FaultyStore::new(Arc::new(memory()), plan);
    let core = Core {
        inner: Arc::new(faulty.clone()),
        policy,
        begun: Instant::now(),
        counters: Arc::default(),
        random: || 1.0,
        refreshed: Mutex::new(None),
    };
    (faulty, Retrying(Arc::new(core)))
}

async fn read(store: &Retrying) -> Result<Vec<u8>, StoreError> {
    let got = store.get(&"object".into(), ByteRange::ALL, None).await?;
    assert_eq!(got.object.size, LEN as u64);
    Ok(got.body.try_collect::<Vec<_>>().await?.concat())
}

async fn list(store: &Retrying) -> Result<usize, StoreError> {
    let listed: Vec<Listed> = store.list("many/", Depth::All, None).try_collect().await?;
    for (number, entry) in listed.iter().enumerate() {
        assert!(
            matches!(entry, Listed::Object(object) if object.key.as_str() == format!("many/{number:06}")),
            "{entry:?}"
        );
    }
    Ok(listed.len())
}

#[tokio::test]
async fn keeps_the_contract() {
    let store = RetryingWrite::new(Arc::new(MemoryStore::new()), hasty(), Arc::default());
    contract::check(&store).await;
    contract::check_writing(&store).await;
}

/// Every error once: what may be tried again is not seen, the rest comes out as it is and at once.
#[tokio::test(start_paused = true)]
async fn each_class_of_error() {
    for &kind in Fault::ERRORS {
        let transient = matches!(
            kind,
            StoreErrorKind::Throttled
                | StoreErrorKind::Failed
                | StoreErrorKind::Unreachable
                | StoreErrorKind::Dns
                | StoreErrorKind::Timeout
                | StoreErrorKind::Expired
        );
        let (faulty, store) = retrying(FaultPlan::nth(0, kind), RetryPolicy::default());
        let body = read(&store).await;
        assert_eq!(faulty.calls_made(), if transient { 2 } else { 1 }, "{kind:?}");
        assert_eq!(store.counters().retries(), u64::from(transient), "{kind:?}");
        match body {
            Ok(body) => assert!(transient && body == content(), "{kind:?}"),
            Err(error) => assert!(!transient && error.kind == kind, "{kind:?}: {error:?}"),
        }
        let (_, store) = retrying(FaultPlan::nth(0, kind), RetryPolicy::default());
        let found = list(&store).await.map_err(|error| error.kind);
        assert_eq!(found, if transient { Ok(2500) } else { Err(kind) }, "{kind:?}");
        let (_, store) = retrying(FaultPlan::nth(0, kind), RetryPolicy::default());
        let found = store.head(&"object".into()).await.map(|object| object.size).map_err(|error| error.kind);
        assert_eq!(found, if transient { Ok(LEN as u64) } else { Err(kind) }, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_on_at_the_byte_where_it_broke() {
    for fault in [Fault::CutAt(300_000), Fault::ShortAt(300_000), Fault::StallAt(300_000)] {
        let (faulty, store) = retrying(FaultPlan::nth(0, fault).and(1..2, Fault::CutAt(7)), RetryPolicy::default());
        assert!(read(&store).await.unwrap() == content(), "{fault:?}");
        let rest = |at: u64| Call::Get("object".into(), ByteRange::new(at, LEN as u64 - at));
        let calls = [Call::Get("object".into(), ByteRange::ALL), rest(300_000), rest(300_007)];
        assert_eq!(faulty.calls(), calls, "{fault:?}");
        assert_eq!(store.counters().bytes(), LEN as u64, "no byte twice");
        assert_eq!((store.counters().requests(), store.counters().retries()), (3, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_object_is_never_pieced_together() {
    let (_, store) = retrying(FaultPlan::nth(0, Fault::CutAt(10)).and(1..2, Fault::OtherVersion), hasty());
    assert_eq!(read(&store).await.unwrap_err().kind, StoreErrorKind::Changed);

    // Really replaced, by one of the same size.
    let memory = memory();
    let store = Retrying::new(
        Arc::new(FaultyStore::new(Arc::new(memory.clone()), FaultPlan::nth(0, Fault::CutAt(10)))),
        hasty(),
    );
    let got = store.get(&"object".into(), ByteRange::ALL, None).await.unwrap();
    memory.insert("object", vec![9; LEN]);
    assert_eq!(got.body.try_collect::<Vec<_>>().await.unwrap_err().kind, StoreErrorKind::Changed);
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_on_behind_its_last_entry() {
    for fault in [Fault::CutAt(1234), Fault::StallAt(1234), Fault::CutAt(0)] {
        let (faulty, store) = retrying(FaultPlan::nth(0, fault), RetryPolicy::default());
        assert_eq!(list(&store).await.unwrap(), 2500, "{fault:?}");
        let after = (fault != Fault::CutAt(0)).then(|| "many/001233".into());
        assert_eq!(faulty.calls()[1], Call::List("many/".into(), after));
    }
    // Folders too.
    let (_, store) = retrying(FaultPlan::nth(0, Fault::CutAt(1)), RetryPolicy::default());
    let listed: Vec<Listed> = store.list("", Depth::Level, None).try_collect().await.unwrap();
    assert!(matches!(&listed[..], [Listed::Folder(_), Listed::Object(_)]), "{listed:?}");
}

/// Whatever lasts for ever ends at the deadline, not much before it, and the error says what it was.
#[tokio::test(start_paused = true)]
async fn the_deadline_holds_and_names_the_cause() {
    let faults = [
        (Fault::Error(StoreErrorKind::Unreachable), StoreErrorKind::Unreachable, "scripted: Unreachable"),
        (Fault::Error(StoreErrorKind::Dns), StoreErrorKind::Dns, "scripted: Dns"),
        (Fault::Error(StoreErrorKind::Throttled), StoreErrorKind::Throttled, "scripted: Throttled"),
        (Fault::Error(StoreErrorKind::Failed), StoreErrorKind::Failed, "scripted: Failed"),
        (Fault::Hang, StoreErrorKind::Timeout, "no answer"),
        (Fault::CutAt(0), StoreErrorKind::Unreachable, "scripted: connection reset"),
        (Fault::ShortAt(0), StoreErrorKind::Unreachable, "ended at byte 0"),
        (Fault::StallAt(0), StoreErrorKind::Timeout, "no byte behind byte 0"),
    ];
    for (fault, kind, cause) in faults {
        let (_, store) = retrying(FaultPlan::always(fault), RetryPolicy::within(Duration::from_secs(60)));
        let began = Instant::now();
        let error = read(&store).await.unwrap_err();
        let took = began.elapsed().as_secs_f64();
        assert!((50.0..=80.0).contains(&took), "{fault:?}: {took}");
        assert!(took <= 60.5 || matches!(fault, Fault::StallAt(_)), "{fault:?}: {took}");
        assert_eq!(error.kind, kind, "{fault:?}: {error:?}");
        assert!(error.what.contains(cause) && error.what.contains("(tried "), "{fault:?}: {}", error.what);
        // What is asked after the deadline is answered at once, even by a store that is well again.
        sleep(Duration::from_secs(61).saturating_sub(began.elapsed())).await;
        let again = Instant::now();
        let error = store.head(&"object".into()).await.unwrap_err();
        assert_eq!((error.kind, again.elapsed()), (StoreErrorKind::Timeout, Duration::ZERO), "{error:?}");
        assert_eq!(error.what, "not asked: the deadline of 60 s is over");
        assert_eq!(list(&store).await.unwrap_err().kind, StoreErrorKind::Timeout);
    }
}

/// The last try may have only a moment left, and hear nothing in it: that is not the cause.
#[tokio::test(start_paused = true)]
async fn a_try_cut_off_by_the_deadline_does_not_hide_the_cause() {
    let plan = FaultPlan::none().and(0..16, StoreErrorKind::Unreachable).and(16..99, Fault::Hang);
    let (faulty, store) = retrying(plan, RetryPolicy::within(Duration::from_secs(60)));
    let error = read(&store).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error:?} {}", faulty.calls_made());
    assert!(error.what.contains("(tried 17 times in 60 s)"), "{}", error.what);
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_attempts_end_it() {
    let (faulty, store) = retrying(FaultPlan::always(StoreErrorKind::Unreachable), RetryPolicy::default());
    let began = Instant::now();
    let error = read(&store).await.unwrap_err();
    assert_eq!(faulty.calls_made(), 15);
    assert!(error.what.contains("(tried 15 times in 146 s)"), "{}", error.what);
    assert_eq!(began.elapsed().as_secs(), 145);
    // Progress, if only of one byte, begins the count anew.
    let plan = FaultPlan::always(Fault::CutAt(LEN as u64 / 100));
    let (faulty, store) = retrying(plan, RetryPolicy::default());
    assert!(read(&store).await.unwrap() == content());
    assert_eq!(faulty.calls_made(), 100);
}

#[tokio::test(start_paused = true)]
async fn throttled_is_slower() {
    let waited = async |kind: StoreErrorKind| {
        let (_, store) = retrying(FaultPlan::none().and(0..5, kind), RetryPolicy::default());
        let began = Instant::now();
        read(&store).await.unwrap();
        began.elapsed()
    };
    assert!(waited(StoreErrorKind::Throttled).await > waited(StoreErrorKind::Failed).await * 4);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_refreshed_once() {
    /// Gives `Expired` until refreshed, and again behind so many bytes.
    #[derive(Debug, Clone)]
    struct Token {
        inner: FaultyStore,
        refreshes: Arc<AtomicU64>,
        needed: u64,
    }

    #[async_trait]
    impl Store for Token {
        fn url(&self) -> String {
            self.inner.url()
        }
        fn capabilities(&self) -> Capabilities {
            self.inner.capabilities()
        }
        fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
            self.inner.list(prefix, depth, start_after)
        }
        async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
            if self.refreshes.load(Ordering::Relaxed) < self.needed {
                return Err(StoreError::new(StoreErrorKind::Expired, self.object_url(key), "403 ExpiredToken"));
            }
            self.inner.get(key, range, version).await
        }
        async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
            self.inner.head(key).await
        }
        async fn refresh_credentials(&self) {
            self.refreshes.fetch_add(1, Ordering::Relaxed);
        }
    }

    let token = |needed| {
        let inner = FaultyStore::new(Arc::new(memory()), FaultPlan::none());
        Token { inner, refreshes: Arc::default(), needed }
    };
    let fresh = token(1);
    let store = Retrying::new(Arc::new(fresh.clone()), RetryPolicy::default());
    assert!(read(&store).await.unwrap() == content());
    assert_eq!(fresh.refreshes.load(Ordering::Relaxed), 1);
    // A refresh that does not help is not repeated for ever.
    let stale = token(2);
    let store = Retrying::new(Arc::new(stale.clone()), RetryPolicy::default());
    let error = read(&store).await.unwrap_err();
    assert_eq!((error.kind, stale.refreshes.load(Ordering::Relaxed)), (StoreErrorKind::Expired, 1));
    // Many who learn of it at once refresh it once.
    let shared = token(1);
    let store = Retrying::new(Arc::new(shared.clone()), RetryPolicy::default());
    let reads = futures::future::join_all((0..20).map(|_| read(&store))).await;
    assert!(reads.into_iter().all(|body| body.unwrap() == content()));
    assert_eq!(shared.refreshes.load(Ordering::Relaxed), 1);
    // In the middle of a body, and after progress once more.
    let plan = FaultPlan::nth(0, Fault::CutAt(10)).and(1..2, StoreErrorKind::Expired).and(2..3, Fault::CutAt(10));
    let (faulty, store) = retrying(plan.and(3..4, StoreErrorKind::Expired), RetryPolicy::default());
    assert!(read(&store).await.unwrap() == content());
    assert_eq!(faulty.calls_made(), 5);
}

/// One byte a minute is silence; a slow link is not, however long the object takes, deadline or not; nor is a reader who
/// takes his time.
#[tokio::test(start_paused = true)]
async fn silence_is_told_from_slowness() {
    /// Sends `piece` bytes every `every`.
    #[derive(Debug)]
    struct Slow(usize, Duration);

    #[async_trait]
    impl Store for Slow {
        fn url(&self) -> String {
            "slow:///".into()
        }
        fn capabilities(&self) -> Capabilities {
            Capabilities { sorted: true, etags: false, remote: true, keeps_times: false }
        }
        fn list<'a>(&'a self, _: &str, _: Depth, _: Option<&ObjectKey>) -> ListStream<'a> {
            futures::stream::empty().boxed()
        }
        async fn get(&self, key: &ObjectKey, range: ByteRange, _: Option<&ETag>) -> Result<Got, StoreError> {
            let object = ObjectId { key: key.clone(), size: LEN as u64, modified: None, etag: None };
            let (start, end) = range.within(object.size);
            let bytes = Bytes::from(content()).slice(start as usize..end as usize);
            let (piece, every) = (self.0, self.1);
            let body = futures::stream::unfold(bytes, move |mut rest| async move {
                let piece = rest.split_to(rest.len().min(piece));
                (!piece.is_empty()).then_some(())?;
                sleep(every).await;
                Some((Ok(piece), rest))
            });
            Ok(Got { object, body: body.boxed() })
        }
        async fn head(&self, _: &ObjectKey) -> Result<ObjectId, StoreError> {
            unreachable!()
        }
    }

    let policy = || RetryPolicy::within(Duration::from_secs(60));
    // 5 kB/s: 200 s, more than three deadlines.
    let store = Retrying::new(Arc::new(Slow(5_000, Duration::from_secs(1))), policy());
    assert!(read(&store).await.unwrap() == content());
    assert_eq!(store.counters().requests(), 1);

    let store = Retrying::new(Arc::new(Slow(1, Duration::from_secs(10))), policy());
    let began = Instant::now();
    let error = read(&store).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Timeout, "{error:?}");
    assert!(began.elapsed() <= Duration::from_secs(81), "{:?}", began.elapsed());

    let store = Retrying::new(Arc::new(Slow(100_000, Duration::from_secs(1))), policy());
    let mut got = store.get(&"object".into(), ByteRange::ALL, None).await.unwrap();
    while let Some(piece) = got.body.next().await {
        piece.unwrap();
        sleep(Duration::from_secs(3600)).await;
    }
    assert_eq!(store.counters().requests(), 1);
}

/// A store that breaks its promise about the length is not believed.
#[tokio::test]
async fn a_body_that_goes_on_behind_its_end_is_an_error() {
    let got = Got {
        object: ObjectId { key: "object".into(), size: 3, modified: None, etag: None },
        body: futures::stream::iter([Ok(Bytes::from_static(b"ab")), Ok(Bytes::from_static(b"cd"))]).boxed(),
    };
    let (_, store) = retrying(FaultPlan::always(StoreErrorKind::Refused), hasty());
    let body = Body {
        tries: store.0.tries(),
        object: got.object,
        at: 0,
        end: 3,
        source: Some(got.body),
        waited: Duration::ZERO,
        crawled: 0,
    };
    let pieces = futures::stream::unfold(body, |mut body| async move { Some((body.next().await?, body)) });
    let pieces: Vec<_> = pieces.collect().await;
    assert_eq!(pieces[0].as_ref().unwrap(), "ab");
    assert!(pieces[1].is_err() && pieces.len() == 2, "{pieces:?}");
}

#[test]
fn waits() {
    let policy = RetryPolicy::default();
    let wait = |class, failed, random| policy.wait(class, failed, random).as_millis();
    let table = [
        (RetryClass::Transient, 1, 0.0, 50),
        (RetryClass::Transient, 1, 1.0, 100),
        (RetryClass::Transient, 2, 1.0, 200),
        (RetryClass::Transient, 5, 0.5, 1200),
        (RetryClass::Transient, 9, 1.0, 20_000),
        (RetryClass::Transient, u32::MAX, 1.0, 20_000),
        (RetryClass::Throttled, 1, 1.0, 500),
        (RetryClass::Throttled, 3, 1.0, 2000),
        (RetryClass::Throttled, 100, 0.0, 10_000),
    ];
    for (class, failed, random, want) in table {
        assert_eq!(wait(class, failed, random), want, "{class:?} {failed} {random}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any script of faults ends in the right bytes or in an error, and the right listing or an error.
    #[test]
    fn any_script_gives_the_whole_or_an_error(
        script in proptest::collection::vec((0u64..12, 0..Fault::all(0).len(), 0u64..1_100_000), 0..8)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut plan = FaultPlan::none();
            for (call, fault, at) in script {
                let fault = match Fault::all(2 * at)[fault] {
                    // Only what the container's own checks can find.
                    Fault::CorruptAt(_) | Fault::Html => continue,
                    fault => fault,
                };
                plan = plan.and(call..call + 1, fault);
            }
            let (_, store) = retrying(plan.clone(), hasty());
            if let Ok(body) = read(&store).await {
                prop_assert!(body == content());
            }
            let (_, store) = retrying(plan.clone(), hasty());
            // A listing has no length of its own to be held against: that it is short in silence a store must not do.
            if let Ok(count) = list(&store).await {
                let short = (0..12).any(|call| matches!(plan.fault(call), Some(Fault::ShortAt(_))));
                prop_assert!(count == 2500 || short, "{}", count);
            }
            Ok(())
        })?;
    }
}

/// A put whose answer was lost was done: the next try finds its own object, and says so by reading it.
#[tokio::test(start_paused = true)]
async fn a_put_whose_answer_was_lost() {
    let memory = MemoryStore::new();
    let faulty = FaultyWriter::new(memory.clone(), 0, StoreErrorKind::Unreachable, Moment::After);
    let store = RetryingWrite::new(Arc::new(faulty.clone()), RetryPolicy::default(), Arc::default());
    let key = ObjectKey::from("object");
    let etag = store.put(&key, Bytes::from_static(b"ours").into(), When::Absent).await.unwrap();
    assert_eq!(faulty.writes(), 2);
    assert_eq!(memory.head(&key).await.unwrap().etag, etag);

    // Somebody else's bytes are not ours, whatever happened to our answer.
    for other in ["other", "our", "ours and more", ""] {
        memory.insert("object", other);
        let faulty = FaultyWriter::new(memory.clone(), 0, StoreErrorKind::Unreachable, Moment::Before);
        let store = RetryingWrite::new(Arc::new(faulty), RetryPolicy::default(), Arc::default());
        let error = store.put(&key, Bytes::from_static(b"ours").into(), When::Absent).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Exists, "{other}: {error:?}");
    }
}

use super::*;
use expect_test::expect;

/// Every code there is, in all three columns: a code added without a thought shows up here.
#[test]
fn the_whole_table() {
    let mut table = String::new();
    for code in Code::ALL {
        let fetch = |asker| wal_fetch(*code, asker, ABSENT);
        table.push_str(&format!(
            "{:<22} {:>3} {:>3} {:>3}\n",
            code.as_str(),
            fetch(Asker::PointInTime),
            fetch(Asker::Patient),
            sysexit(*code)
        ));
    }
    expect![[r#"
        absent.segment          74  74  66
        absent.backup           74  74  66
        absent.object           74  74  66
        absent.prefix          200 100  66
        absent.archive          74  74  66
        absent.feeder           74  74  66
        gap.segment            206  74  65
        gap.fork               206  74  65
        usage.argument         200 100  64
        usage.name             200 100  64
        usage.time             200 100  64
        usage.target           200 100  64
        config.prefix          200 100  78
        config.file            200 100  78
        config.value           200 100  78
        config.unsupported     200 100  78
        credentials.missing    201 101  77
        credentials.refused    201 101  77
        credentials.expired    201 101  77
        store.unreachable      202 102  69
        store.dns              202 102  69
        store.tls              202 102  69
        store.throttled        202 102  75
        store.failed           202 102  69
        store.timeout          202 102  75
        store.changed          202 102  75
        store.archived         202 102  69
        store.redirected       202 102  69
        damaged.object         203 103  65
        damaged.codec          203 103  65
        damaged.segment        203 103  65
        damaged.foreign        203 103  65
        damaged.history        203 103  65
        damaged.sentinel       203 103  65
        damaged.backup         203 103  65
        damaged.archive        203 103  65
        damaged.member         203 103  65
        damaged.page           203 103  65
        local.io               204 104  74
        local.space            204 104  73
        local.target           204 104  73
        local.ledger           204 104  74
        local.tablespace       204 104  73
        target.occupied        204 104  73
        target.conflict        204 104  73
        target.busy            204 104  75
        target.unconfirmed     204 104  73
        crypt.key              205 105  77
        crypt.unsupported      205 105  77
        internal.bug           207 107  70
    "#]]
    .assert_eq(&table);
}

#[test]
fn a_point_in_time_recovery_is_never_told_not_in_the_archive_unless_it_is_so() {
    for code in Code::ALL {
        let exit = wal_fetch(*code, Asker::PointInTime, 1);
        let not_there = code.class() == Class::Absent && *code != Code::AbsentPrefix;
        assert_eq!(exit <= 125, not_there, "{code}: {exit}");
        // 126, 127: the shell's own; 128 and up to 165: a signal, and 143 is taken for a shutdown.
        assert!(exit <= 125 || (200..=250).contains(&exit), "{code}: {exit}");
    }
}

#[test]
fn a_standby_is_never_taken_down() {
    for code in Code::ALL {
        let exit = wal_fetch(*code, Asker::Patient, ABSENT);
        assert!((1..=125).contains(&exit), "{code}: {exit}");
    }
}

#[test]
fn no_failure_is_success() {
    for code in Code::ALL {
        assert_ne!(sysexit(*code), OK, "{code}");
        for asker in [Asker::PointInTime, Asker::Patient] {
            assert_ne!(wal_fetch(*code, asker, ABSENT), OK, "{code}");
            assert_ne!(before_verb(*code, &[], asker), OK, "{code}");
        }
    }
}

#[test]
fn a_mistyped_restore_command_stops_a_point_in_time_recovery() {
    let argv = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
    let exit = |line, asker| before_verb(Code::UsageArgument, &argv(line), asker);
    assert_eq!(exit("wal-r wal-fetch --typo f p", Asker::PointInTime), 200);
    assert_eq!(exit("wal-r walfetch f p", Asker::PointInTime), 200);
    assert_eq!(exit("wal-r wal-fetch --typo f p", Asker::Patient), 100);
    assert_eq!(exit("wal-r walfetch f p", Asker::Patient), 64);
    assert_eq!(exit("wal-fetch", Asker::Patient), 64, "the program's own name is no verb");
}

#[test]
fn audits() {
    use Verdict::{Critical, Ok, Unknown, Warning};
    assert_eq!([Ok, Warning, Critical, Unknown].map(audit), [0, 1, 2, 3]);
    // By badness, which is not the order of the numbers.
    assert!(Ok < Warning && Warning < Unknown && Unknown < Critical);
}

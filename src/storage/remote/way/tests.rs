use super::*;
use rustls::pki_types::ServerName;
use rustls::{CertificateError as C, Error as E};
use std::time::Duration;

#[test]
fn what_is_wrong_with_a_certificate() {
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let name = |presented: &[&str]| C::NotValidForNameContext {
        expected: ServerName::try_from("store.example").unwrap(),
        presented: presented.iter().map(ToString::to_string).collect(),
    };
    let many =
        ["DnsName(\"a.example\")", "IpAddress(127.0.0.1)", "DnsName(\"*.c\")", "DnsName(\"d\")", "DnsName(\"e\")"];
    let table = [
        (C::UnknownIssuer, "the certificate's issuer is not trusted here"),
        (
            C::ExpiredContext { time: at(1_700_000_000), not_after: at(1_600_000_000) },
            "the certificate expired on 2020-09-13T12:26:40Z, or the clock of this machine is wrong",
        ),
        (
            C::ExpiredContext { time: at(0), not_after: at(u64::MAX) },
            "the certificate expired on a day out of reach, or the clock of this machine is wrong",
        ),
        (
            C::NotValidYetContext { time: at(0), not_before: at(1_600_000_000) },
            "the certificate is not valid before 2020-09-13T12:26:40Z, or the clock of this machine is wrong",
        ),
        (name(&[]), "the certificate is for no host, not for store.example"),
        (name(&["DnsName(\"localhost\")"]), "the certificate is for localhost, not for store.example"),
        (name(&many), "the certificate is for a.example, 127.0.0.1, *.c and 2 more, not for store.example"),
        (name(&["what will come"]), "the certificate is for what will come, not for store.example"),
        (
            C::BadSignature,
            "the certificate is signed by another key than that of the authority which is trusted under this name",
        ),
        (C::Revoked, "the certificate is not valid: Revoked"),
    ];
    for (error, said) in table {
        let error = io::Error::other(E::InvalidCertificate(error));
        assert_eq!(transport(&error), Some((Kind::Tls, said.to_owned())));
    }
}

#[test]
fn what_the_system_said_is_found_below_what_says_nothing() {
    use io::ErrorKind as K;
    let unreachable = |what: &str| Some((Kind::Unreachable, what.to_owned()));
    let table = [
        (K::ConnectionReset, unreachable("connection reset")),
        (K::UnexpectedEof, unreachable("connection closed in the middle")),
        (K::ConnectionRefused, unreachable("connection refused")),
        (K::TimedOut, Some((Kind::Timeout, "no connection in time".to_owned()))),
        (K::NetworkUnreachable, unreachable("no connection")),
    ];
    for (kind, want) in table {
        assert_eq!(transport(&io::Error::from(kind)), want);
        let wrapped = io::Error::other(io::Error::other(io::Error::new(kind, "tls handshake eof")));
        assert_eq!(transport(&wrapped), want);
    }
}

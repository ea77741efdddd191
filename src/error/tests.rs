//! Codes are unique, classed by their first word, and each has a page.

use super::*;

#[test]
fn the_first_word_of_every_code_is_its_class() {
    for code in Code::ALL {
        assert_eq!(code.as_str().split('.').next(), Some(code.class().word()), "{code}");
        assert_eq!(Code::parse(code.as_str()), Some(*code));
        let page = code.explain();
        assert!(page.meaning.ends_with('.') && page.next.ends_with('.'), "{code}: pages are sentences");
    }
}

#[test]
fn only_absent_and_gap_say_that_something_is_not_there() {
    for code in Code::ALL {
        let says_absent = code.class().verdict() == Verdict::Absent;
        assert_eq!(says_absent, matches!(code.class(), Class::Absent | Class::Gap), "{code}");
    }
}

#[test]
fn a_chain_says_each_cause_once() {
    let cause = std::io::Error::other("disk on fire");
    let error = Error::new(Code::LocalIo, "cannot write").on("/x/y").because(cause);
    assert_eq!(error.to_string(), "/x/y: cannot write");
    assert_eq!(error.chain(), "/x/y: cannot write: disk on fire");
    assert_eq!(error.verdict(), Verdict::Unknown);
}

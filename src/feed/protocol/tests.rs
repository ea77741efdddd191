use super::*;
use proptest::prelude::*;

fn file() -> impl Strategy<Value = WalFile> {
    prop_oneof![
        (1..9u32, any::<u32>(), 0..256u32).prop_map(|(t, log, seg)| format!("{t:08X}{log:08X}{seg:08X}")),
        (2..99u32).prop_map(|t| format!("{t:08X}.history")),
    ]
    .prop_map(|name| name.parse().expect("a name"))
}

fn question() -> impl Strategy<Value = Question> {
    prop_oneof![
        (file(), "[0-9a-f]{1,64}").prop_map(|(file, settings)| Question::Get { file, settings }),
        (file(), "[0-9a-f]{1,64}").prop_map(|(file, settings)| Question::Ready { file, settings }),
        (file(), "[0-9a-f]{1,64}", any::<u64>()).prop_map(|(file, settings, microseconds)| Question::Got {
            file,
            settings,
            microseconds,
            carry: None
        }),
        Just(Question::Status),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        any::<u64>().prop_map(Line::Wait),
        "[^\\p{Cc}]{0,80}".prop_map(Line::Note),
        "[^\\p{Cc}]{0,80}".prop_map(Line::Warn),
        file().prop_map(|file| Line::Take(format!("pg_wal/.wal-r/{file}"))),
        Just(Line::Absent),
        (0..Code::ALL.len(), "[^\\p{Cc}]{0,80}").prop_map(|(code, text)| Line::Refused(Code::ALL[code], text)),
        "[^\\p{Cc}]{0,80}".prop_map(Line::Yourself),
        Just(Line::Leave),
    ]
}

proptest! {
    #[test]
    fn questions_come_back(question in question()) {
        let line = question.line();
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert_eq!(Question::parse(line.trim_end_matches('\n')), Some(question));
    }

    #[test]
    fn answers_come_back(line in line()) {
        let text = line.line();
        prop_assert_eq!(text.matches('\n').count(), 1);
        prop_assert_eq!(Line::parse(text.trim_end_matches('\n')), Some(line));
    }

    #[test]
    fn texts_stay_one_line(text in any::<String>()) {
        let line = Line::Warn(text).line();
        prop_assert_eq!(line.matches(['\n', '\r']).count(), 1);
        prop_assert!(Line::parse(line.trim_end_matches('\n')).is_some());
    }

    #[test]
    fn garbage_is_no_line(garbage in any::<String>()) {
        let _ = Line::parse(&garbage);
        prop_assert_eq!(Question::parse(&garbage), None);
    }
}

#[test]
fn what_becomes_a_path_is_a_name() {
    for bad in
        ["take ../x", "take /etc/passwd", "take ", "take pg_wal/000000010000000000000001 x", "absent x", "leave x"]
    {
        assert_eq!(Line::parse(bad), None, "{bad}");
    }
    for bad in ["wal-r 2 status", "wal-r 1 get ../x ab", "wal-r 1 get 00000002.history zz", "wal-r 1 status x"] {
        assert_eq!(Question::parse(bad), None, "{bad}");
    }
}

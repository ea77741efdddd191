//! `explain`: the page of the code of an error or a finding, or the list of all.
//!
//! In: a code as text. Out: [`Report`]. Never: asks anything but the tables in `error::codes` and
//! `proof::finding`.

use crate::error::{Answer, Code, Error};
use crate::proof::FindingCode;
use serde::Serialize;

/// What to explain.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A code, the first word of some, or nothing for all.
    pub code: Option<String>,
}

/// One code's page.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// The dotted code.
    pub code: &'static str,
    /// Its class: the first word.
    pub class: &'static str,
    /// What happened.
    pub meaning: &'static str,
    /// What to do next.
    pub next: &'static str,
}

/// The pages asked for, in the order of their classes. Never empty.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Was one code named?
    #[serde(skip)]
    pub single: bool,
    /// The pages.
    pub codes: Vec<Page>,
}

/// Look it up. A class (`store`) gives all its codes.
pub fn run(options: &Options) -> Answer<Report> {
    let all: Vec<Page> =
        Code::ALL.iter().copied().map(error).chain(FindingCode::ALL.iter().copied().map(finding)).collect();
    let Some(wanted) = &options.code else { return Ok(Report { single: false, codes: all }) };
    // People paste `[store.dns]` and `error[store.dns]:` as they stand on the screen.
    let bare = wanted.trim().trim_end_matches(':').trim_start_matches("error").trim_matches(['[', ']']);
    let pick = |fits: &dyn Fn(&Page) -> bool| all.iter().filter(|page| fits(page)).cloned().collect::<Vec<_>>();
    let one = pick(&|page| page.code == bare);
    if !one.is_empty() {
        return Ok(Report { single: true, codes: one });
    }
    let class = pick(&|page| page.class == bare);
    if class.is_empty() {
        return Err(Error::new(Code::UsageArgument, format!("no code of an error or a finding is called {wanted:?}"))
            .hint("`wal-r explain` lists them all."));
    }
    Ok(Report { single: false, codes: class })
}

fn error(code: Code) -> Page {
    let explained = code.explain();
    Page { code: code.as_str(), class: code.class().word(), meaning: explained.meaning, next: explained.next }
}

fn finding(code: FindingCode) -> Page {
    let class = code.as_str().split('.').next().unwrap_or_default();
    Page { code: code.as_str(), class, meaning: code.meaning(), next: code.next() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(wanted: Option<&str>) -> Vec<&'static str> {
        let options = Options { code: wanted.map(str::to_owned) };
        run(&options).map(|report| report.codes.iter().map(|page| page.code).collect()).unwrap_or_default()
    }

    #[test]
    fn a_code_a_class_or_all() {
        assert_eq!(codes(None).len(), Code::ALL.len() + FindingCode::ALL.len());
        for code in Code::ALL {
            for form in [code.to_string(), format!("[{code}]"), format!("error[{code}]:")] {
                assert_eq!(codes(Some(&form)), [code.as_str()], "{form}");
            }
        }
        for code in FindingCode::ALL {
            assert_eq!(codes(Some(code.as_str())), [code.as_str()], "{code}");
        }
        assert_eq!(codes(Some("fork")), ["fork.missing", "fork.contradicts"]);
        assert_eq!(codes(Some("gap")), ["gap.segment", "gap.fork"]);
        for none in ["", "nothing.known", "gap.", "GAP", "error"] {
            assert_eq!(codes(Some(none)), [""; 0], "{none:?}");
        }
    }
}

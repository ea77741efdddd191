//! What can be told of the page without a browser; tests/it/audit.rs looks at it in one.

use super::*;
use crate::cli::render::audit::samples;
use sha2::{Digest, Sha256};

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let digit_is_there = digit <= chunk.len();
            let value = (word >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit_is_there { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}

#[test]
fn the_policy_lets_our_script_run_and_no_other() {
    assert_eq!(JS_HASH, base64(&Sha256::digest(JS)), "the script has changed: so does its hash");
    for (name, report) in samples::all() {
        let page = render(&report);
        assert_eq!(page.matches("<script").count(), 1, "{name}");
        assert_eq!(page.matches("</script").count(), 1, "{name}");
        assert_eq!(page.matches("<style").count(), 1, "{name}");
    }
}

#[test]
fn nothing_from_outside_is_markup() {
    let page = render(&samples::hostile());
    for part in ["<img", "onerror=alert(1)>\"'", "\u{202E}", "\u{1b}", "title='owned'"] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;"));
}

#[test]
fn pages_load_nothing_and_stay_small() {
    for (name, report) in samples::all() {
        let page = render(&report);
        assert!(page.len() < 1_000_000, "{name}: {} bytes", page.len());
        for part in ["src=", "@import", "url(http", "<link", "href=\"http", "<iframe", "<base"] {
            let found = page.replace("&lt;img src=x", "").contains(part);
            assert!(!found, "{name}: {part}");
        }
        let marks = page.matches("<rect").count() + page.matches("<use").count();
        assert!(marks < 6000, "{name}: {marks} marks");
    }
}

#[test]
fn elements_are_closed() {
    for (name, report) in samples::all() {
        let page = render(&report);
        let body = &page[page.find("<body>").unwrap()..page.find("<script>").unwrap()];
        for tag in [
            "main", "header", "section", "figure", "article", "table", "tbody", "tr", "td", "ul", "ol", "li", "dl",
            "div", "p", "h2", "h3", "details", "svg", "g", "text", "code",
        ] {
            let opened = body.matches(&format!("<{tag}>")).count() + body.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, body.matches(&format!("</{tag}>")).count(), "{name}: {tag}");
        }
    }
}

/// For a person who looks: `WALR_PAGES=folder cargo test sample_pages` writes them.
#[test]
fn sample_pages() {
    let kept = std::env::var_os("WALR_PAGES").map(std::path::PathBuf::from);
    for (name, report) in samples::all() {
        let page = render(&report);
        assert!(page.ends_with("</html>\n"), "{name}");
        if let Some(folder) = &kept {
            std::fs::write(folder.join(format!("{name}.html")), page).unwrap();
        }
    }
}

//! A page of a listing, as Azure writes it.
//!
//! In: the XML of an answer to List Blobs. Out: [`Page`]. Never: takes a document that ends early for a short one, trims
//! a name, shows a directory of a hierarchical account as an object.
//! Source: Azure's "List Blobs" (names that XML cannot hold come percent-encoded, since version 2021-02-12).

use crate::layout::ObjectKey;
use crate::storage::remote::{normalise, percent_decode};
use crate::storage::{ETag, Listed, ObjectId};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Entries with their whole names, and where to go on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub objects: Vec<Listed>,
    pub folders: Vec<Listed>,
    /// The next page; `None`: this is the last.
    pub next: Option<String>,
}

/// One `Blob` or `BlobPrefix`, as far as it has been read.
#[derive(Default)]
struct Open {
    name: Option<String>,
    encoded: bool,
    size: Option<u64>,
    modified: Option<jiff::Timestamp>,
    etag: Option<ETag>,
    directory: bool,
}

/// Read a page. The error is what is wrong with it, as a noun.
pub(super) fn page(body: &[u8]) -> Result<Page, String> {
    let text = std::str::from_utf8(body).map_err(|_| "a page that is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    reader.config_mut().expand_empty_elements = true;
    let (mut page, mut open, mut path, mut content) = (Page::default(), Open::default(), Vec::new(), String::new());
    let (mut ended, mut said_next) = (false, false);
    loop {
        let event = reader.read_event().map_err(|_| "a page that is no XML, or is cut short".to_owned())?;
        match event {
            Event::Start(start) => {
                let name = String::from_utf8_lossy(start.name().as_ref()).into_owned();
                if path.is_empty() && (ended || name != "EnumerationResults") {
                    return Err("a document that is no listing".into());
                }
                if path.len() == 2 {
                    open = Open::default();
                }
                if path.len() == 3 && name == "Name" {
                    open.encoded = is_encoded(&start);
                }
                path.push(name);
                content.clear();
            }
            Event::End(_) => {
                let within: Vec<&str> = path.iter().map(String::as_str).collect();
                match within.as_slice() {
                    [_, "NextMarker"] => {
                        said_next = true;
                        page.next = Some(content.clone()).filter(|next| !next.is_empty());
                    }
                    [_, "Blobs", "Blob" | "BlobPrefix", "Name"] => open.name = Some(content.clone()),
                    [_, "Blobs", "Blob", "Properties", property] => open.property(property, &content),
                    [_, "Blobs", "Blob"] => page.objects.extend(std::mem::take(&mut open).object()?),
                    [_, "Blobs", "BlobPrefix"] => {
                        page.folders.push(Listed::Folder(std::mem::take(&mut open).key()?));
                    }
                    [_] => ended = true,
                    _ => {}
                }
                path.pop();
                content.clear();
            }
            Event::Text(text) => content.push_str(&text.decode().map_err(|_| "a page that is not UTF-8".to_owned())?),
            Event::CData(text) => content.push_str(&text.decode().map_err(|_| "a page that is not UTF-8".to_owned())?),
            Event::GeneralRef(reference) => content.push(character(&reference).ok_or("a page with an odd entity")?),
            Event::Eof => break,
            _ => {}
        }
    }
    if !ended {
        return Err("a page that is cut short".into());
    }
    if !said_next {
        return Err("a page that does not say whether it is the last".into());
    }
    Ok(page)
}

fn is_encoded(start: &BytesStart<'_>) -> bool {
    let attribute = start.try_get_attribute("Encoded").ok().flatten();
    attribute.is_some_and(|attribute| attribute.value.eq_ignore_ascii_case(b"true"))
}

/// `&amp;` and its kin, `&#38;`, `&#x26;`.
fn character(reference: &quick_xml::events::BytesRef<'_>) -> Option<char> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Some(character);
    }
    match reference.decode().ok()?.as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

impl Open {
    fn property(&mut self, name: &str, content: &str) {
        match name {
            "Content-Length" => self.size = content.trim().parse().ok(),
            "Last-Modified" => self.modified = timestamp(content),
            "Etag" if !content.trim().is_empty() => self.etag = Some(normalise(content.trim())),
            "ResourceType" => self.directory = content.trim() == "directory",
            _ => {}
        }
    }

    fn key(&mut self) -> Result<ObjectKey, String> {
        let name = self.name.take().ok_or("an entry without a name")?;
        Ok(ObjectKey::from(if self.encoded { percent_decode(&name, false) } else { name }))
    }

    fn object(mut self) -> Result<Option<Listed>, String> {
        let key = self.key()?;
        if self.directory {
            return Ok(None);
        }
        let size = self.size.ok_or_else(|| format!("{key} without a size"))?;
        Ok(Some(Listed::Object(ObjectId { key, size, modified: self.modified, etag: self.etag })))
    }
}

/// `Sat, 21 Nov 2026 09:00:00 GMT`.
pub(super) fn timestamp(text: &str) -> Option<jiff::Timestamp> {
    Some(jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp())
}

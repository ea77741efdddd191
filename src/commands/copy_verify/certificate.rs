//! A comparison as a document that somebody signs off, and that anybody can check later.
//!
//! In: a [`Report`], a name. Out: JSON, with a seal over itself. Never: says more than the report; vouches for who wrote it: a
//! seal shows that a document was altered by accident, or without computing it anew; signing is for tools that hold keys.
//!
//! The seal is the SHA-256 of the document without its `seal`, in canonical form: members sorted by name, no blanks, a line end
//! behind it; what `jq -cS 'del(.seal)'` prints.

use super::Report;
use crate::error::{Answer, Code, Error};
use crate::transfer::Hex32;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

const SCHEMA: &str = "wal-r.copy-certificate";
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'a str,
    version: u32,
    #[serde(flatten)]
    report: &'a Report,
    signed_off_by: Option<&'a str>,
}

/// A certificate: its text, and its seal.
pub fn certificate(report: &Report, signed_off_by: Option<&str>) -> Answer<(String, Hex32)> {
    let failed =
        |error: serde_json::Error| Error::new(Code::InternalBug, "a certificate does not serialise").because(error);
    let document = Document { schema: SCHEMA, version: VERSION, report, signed_off_by };
    let mut value = serde_json::to_value(&document).map_err(failed)?;
    let seal = seal(&value).map_err(failed)?;
    if let Value::Object(members) = &mut value {
        members.insert("seal".to_owned(), Value::String(seal.to_string()));
    }
    let mut text = serde_json::to_string_pretty(&value).map_err(failed)?;
    text.push('\n');
    Ok((text, seal))
}

/// Of a document, whatever its `seal` says.
fn seal(document: &Value) -> serde_json::Result<Hex32> {
    let mut canonical = document.clone();
    if let Value::Object(members) = &mut canonical {
        members.shift_remove("seal");
    }
    canonical.sort_all_objects();
    let mut text = serde_json::to_string(&canonical)?;
    text.push('\n');
    Ok(Hex32(Sha256::digest(text.as_bytes()).into()))
}

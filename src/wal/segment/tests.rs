use super::*;

#[test]
fn too_short_to_tell() {
    let file = "000000010000000000000003".parse().unwrap();
    let mut empty = SegmentCheck::new(Expect::new(file));
    let fault = empty.finish().unwrap_err();
    assert_eq!(fault.to_string(), "WAL segment 000000010000000000000003: it is empty, at 0/3000000 (byte 0)");
    assert_eq!(Error::from(fault).code(), Code::DamagedSegment);
}

//! GEOMETRY and its kinds as a GeoJSON geometry (RFC 7946) with the member `srid`.
//!
//! A value is four bytes of SRID, little-endian, then WKB ("Internal Geometry Storage Format" in
//! the MySQL manual), always little-endian and of two coordinates; MariaDB stores it so too.

use change_event::json;

use crate::reader::FieldReader;

/// Collections inside collections are followed this deep. No useful one is deeper.
const MAX_DEPTH: u32 = 64;

/// The kinds of geometry, by their numbers in WKB.
mod kind {
    pub(super) const POINT: u32 = 1;
    pub(super) const LINE_STRING: u32 = 2;
    pub(super) const POLYGON: u32 = 3;
    pub(super) const MULTI_POINT: u32 = 4;
    pub(super) const MULTI_LINE_STRING: u32 = 5;
    pub(super) const MULTI_POLYGON: u32 = 6;
    pub(super) const COLLECTION: u32 = 7;
}

/// Writes a geometry; bytes that are no geometry, which a MariaDB may hold, become base64 in an
/// object.
pub fn write(out: &mut Vec<u8>, raw: &[u8]) {
    let start = out.len();
    if write_whole(out, raw).is_none() {
        out.truncate(start);
        json::write_unreadable(out, raw);
    }
}

fn write_whole(out: &mut Vec<u8>, raw: &[u8]) -> Option<()> {
    let mut wkb = FieldReader::new(raw);
    let srid = wkb.u32().ok()?;
    write_open(out, &mut wkb, MAX_DEPTH)?;
    out.extend_from_slice(b",\"srid\":");
    json::write_u64(out, srid.into());
    out.push(b'}');
    wkb.is_empty().then_some(())
}

/// Writes a geometry as an object that is not closed yet.
fn write_open(out: &mut Vec<u8>, wkb: &mut FieldReader<'_>, depth: u32) -> Option<()> {
    let kind = read_head(wkb)?;
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(name(kind)?);
    if kind == kind::COLLECTION {
        let deeper = depth.checked_sub(1)?;
        out.extend_from_slice(b"\",\"geometries\":");
        return write_list(out, wkb, |out, wkb| {
            write_open(out, wkb, deeper)?;
            out.push(b'}');
            Some(())
        });
    }
    out.extend_from_slice(b"\",\"coordinates\":");
    match kind {
        kind::POINT => write_point(out, wkb),
        kind::LINE_STRING => write_line(out, wkb),
        kind::POLYGON => write_polygon(out, wkb),
        kind::MULTI_POINT => write_members(out, wkb, (kind::POINT, write_point)),
        kind::MULTI_LINE_STRING => write_members(out, wkb, (kind::LINE_STRING, write_line)),
        _ => write_members(out, wkb, (kind::POLYGON, write_polygon)),
    }
}

fn name(kind: u32) -> Option<&'static [u8]> {
    Some(match kind {
        kind::POINT => b"Point",
        kind::LINE_STRING => b"LineString",
        kind::POLYGON => b"Polygon",
        kind::MULTI_POINT => b"MultiPoint",
        kind::MULTI_LINE_STRING => b"MultiLineString",
        kind::MULTI_POLYGON => b"MultiPolygon",
        kind::COLLECTION => b"GeometryCollection",
        _ => return None,
    })
}

/// The byte order and the kind, which come before each geometry, also one inside of another.
fn read_head(wkb: &mut FieldReader<'_>) -> Option<u32> {
    const LITTLE_ENDIAN: u8 = 1;
    (wkb.u8().ok()? == LITTLE_ENDIAN).then_some(())?;
    wkb.u32().ok()
}

/// How the coordinates of a kind are written.
type Write = fn(&mut Vec<u8>, &mut FieldReader<'_>) -> Option<()>;

fn write_point(out: &mut Vec<u8>, wkb: &mut FieldReader<'_>) -> Option<()> {
    let mut coordinate = || wkb.array().ok().map(f64::from_le_bytes).filter(|n| n.is_finite());
    let (x, y) = (coordinate()?, coordinate()?);
    out.push(b'[');
    json::write_f64(out, x);
    out.push(b',');
    json::write_f64(out, y);
    out.push(b']');
    Some(())
}

fn write_line(out: &mut Vec<u8>, wkb: &mut FieldReader<'_>) -> Option<()> {
    write_list(out, wkb, write_point)
}

fn write_polygon(out: &mut Vec<u8>, wkb: &mut FieldReader<'_>) -> Option<()> {
    write_list(out, wkb, write_line)
}

/// Geometries that are all of one kind.
fn write_members(
    out: &mut Vec<u8>,
    wkb: &mut FieldReader<'_>,
    (kind, write): (u32, Write),
) -> Option<()> {
    write_list(out, wkb, |out, wkb| {
        (read_head(wkb)? == kind).then_some(())?;
        write(out, wkb)
    })
}

/// A number of things, and then the things.
fn write_list(
    out: &mut Vec<u8>,
    wkb: &mut FieldReader<'_>,
    write: impl Fn(&mut Vec<u8>, &mut FieldReader<'_>) -> Option<()>,
) -> Option<()> {
    out.push(b'[');
    // Each takes bytes, so the loop ends with the bytes, however large the number is.
    for n in 0..wkb.u32().ok()? {
        if n > 0 {
            out.push(b',');
        }
        write(out, wkb)?;
    }
    out.push(b']');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(hex: &str) -> String {
        let digits: Vec<u8> = hex.bytes().filter(|digit| *digit != b' ').collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let raw: Vec<u8> = digits.chunks(2).map(byte).collect();
        let mut out = b"before".to_vec();
        write(&mut out, &raw);
        String::from_utf8(out).unwrap().split_off("before".len())
    }

    const ONE: &str = "000000000000f03f";
    const TWO: &str = "0000000000000040";

    /// As MySQL 9.7 and MariaDB 11.8 store them.
    #[test]
    fn each_kind_has_its_geojson() {
        let (point, line) = (format!("{ONE}{TWO}"), format!("02000000 {ONE}{TWO} {TWO}{ONE}"));
        let head = |kind: u32| format!("01 {kind:02x}000000");
        for (srid, wkb, expected) in [
            ("e6100000", format!("{} {point}", head(1)), r#""Point","coordinates":[1.0,2.0],"#),
            (
                "00000000",
                format!("{} {line}", head(2)),
                r#""LineString","coordinates":[[1.0,2.0],[2.0,1.0]],"#,
            ),
            (
                "00000000",
                format!("{} 01000000 {line}", head(3)),
                r#""Polygon","coordinates":[[[1.0,2.0],[2.0,1.0]]],"#,
            ),
            (
                "00000000",
                format!("{} 01000000 {} {point}", head(4), head(1)),
                r#""MultiPoint","coordinates":[[1.0,2.0]],"#,
            ),
            (
                "00000000",
                format!("{} 01000000 {} {line}", head(5), head(2)),
                r#""MultiLineString","coordinates":[[[1.0,2.0],[2.0,1.0]]],"#,
            ),
            (
                "00000000",
                format!("{} 01000000 {} 01000000 {line}", head(6), head(3)),
                r#""MultiPolygon","coordinates":[[[[1.0,2.0],[2.0,1.0]]]],"#,
            ),
            (
                "ffffffff",
                format!("{} 02000000 {} {point} {} 00000000", head(7), head(1), head(7)),
                r#""GeometryCollection","geometries":[{"type":"Point","coordinates":[1.0,2.0]},{"type":"GeometryCollection","geometries":[]}],"#,
            ),
        ] {
            let number = u32::from_le_bytes(u32::from_str_radix(srid, 16).unwrap().to_be_bytes());
            let expected = format!("{{\"type\":{expected}\"srid\":{number}}}");
            assert_eq!(written(&format!("{srid} {wkb}")), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_geometry_come_as_they_are() {
        let nan = "000000000000f87f";
        for hex in [
            String::new(),
            "00000000".to_owned(),
            format!("00000000 01 01000000 {ONE}"),
            format!("00000000 01 01000000 {ONE}{nan}"),
            format!("00000000 01 01000000 {ONE}{TWO} ff"),
            format!("00000000 00 00000001 {ONE}{TWO}"),
            format!("00000000 01 08000000 {ONE}{TWO}"),
            format!("00000000 01 04000000 01000000 01 02000000 {ONE}{TWO}"),
            format!("00000000 01 02000000 ffffffff {ONE}{TWO}"),
            // As deep as a value may be, with nothing in the innermost.
            format!("00000000 {} 01 07000000 00000000", "01 07000000 01000000".repeat(10_000)),
        ] {
            let json = written(&hex);
            assert!(json.starts_with("{\"base64\":\"") && json.ends_with("\"}"), "{hex:.99}");
        }
    }
}

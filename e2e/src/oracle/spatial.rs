//! GEOMETRY and VECTOR: what can stand in them, and the JSON form of what a server holds.

use anyhow::{Context as _, Result, bail, ensure};
use rand::{RngExt as _, rngs::StdRng};

use super::{Domain, domain::hex};

/// WKT of every kind, with the coordinates that a kind may have in any system.
const SHAPES: &str = "POINT(1 2);POINT(-0 0.1);POINT(-89.999999999999986 90);LINESTRING(0 0,1 1,2 0);\
     POLYGON((0 0,0 3,3 3,3 0,0 0),(1 1,1 2,2 2,2 1,1 1));MULTIPOINT(0 0,1 1);\
     MULTILINESTRING((0 0,1 1),(2 2,3 3,4 5));\
     MULTIPOLYGON(((0 0,0 3,3 3,3 0,0 0)),((5 5,5 6,6 6,5 5)));\
     GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1));\
     GEOMETRYCOLLECTION(GEOMETRYCOLLECTION(MULTIPOINT(1 1),POLYGON((0 0,0 1,1 1,0 0))),POINT(3 4))";
/// The same, where coordinates have no bounds.
const FAR: &str = "POINT(1e300 -2.5e-300);LINESTRING(5e-324 1.7976931348623157e308,3 4);\
     MULTIPOINT(123456789.123456789 1e16);GEOMETRYCOLLECTION EMPTY";
/// A plane, and the earth with degrees.
const SYSTEMS: [u32; 2] = [0, 4326];

/// Literals of the values that need care.
pub(super) fn edges(domain: &Domain) -> Vec<String> {
    let Domain::Geometry(kind) = domain else {
        let edges = [0.0, -0.0, 1.0, 0.1, f32::MAX, f32::MIN_POSITIVE, -1.5e-45, 16_777_217.0];
        return edges.map(|n| vector(domain, || n)).to_vec();
    };
    let fits = |wkt: &&str| {
        let rest = wkt.strip_prefix(*kind);
        *kind == "GEOMETRY" || rest.is_some_and(|rest| rest.starts_with(['(', ' ']))
    };
    let shapes = SHAPES.split(';').filter(fits);
    let near = shapes.flat_map(|wkt| SYSTEMS.map(|system| literal(wkt, system)));
    near.chain(FAR.split(';').filter(fits).map(|wkt| literal(wkt, 0))).collect()
}

/// A literal of a random value.
pub(super) fn random(domain: &Domain, rng: &mut StdRng) -> String {
    let Domain::Geometry(kind) = domain else {
        let number = || rng.random_range(-1.0..1.0_f32) * 10_f32.powi(rng.random_range(-9..9));
        return vector(domain, number);
    };
    const KINDS: [&str; 7] = [
        "POINT",
        "LINESTRING",
        "POLYGON",
        "MULTIPOINT",
        "MULTILINESTRING",
        "MULTIPOLYGON",
        "GEOMETRYCOLLECTION",
    ];
    let kind = if *kind == "GEOMETRY" { KINDS[rng.random_range(0..KINDS.len())] } else { kind };
    let system = SYSTEMS[rng.random_range(0..SYSTEMS.len())];
    literal(&shape(kind, rng), system)
}

fn literal(wkt: &str, system: u32) -> String {
    format!("ST_GeomFromText('{wkt}', {system})")
}

/// Every server takes a vector's bytes.
fn vector(domain: &Domain, mut number: impl FnMut() -> f32) -> String {
    let Domain::Vector(dimensions) = domain else { return "NULL".to_owned() };
    let bytes: Vec<u8> = (0..*dimensions).flat_map(|_| number().to_le_bytes()).collect();
    hex(&bytes)
}

fn shape(kind: &str, rng: &mut StdRng) -> String {
    format!("{kind}({})", content(kind, rng))
}

fn content(kind: &str, rng: &mut StdRng) -> String {
    let count = rng.random_range(1..4);
    let point = |rng: &mut StdRng| {
        let [x, y] = [(); 2].map(|()| rng.random_range(-90.0..90.0_f64));
        format!("{x:e} {y:e}")
    };
    let mut list = |of: &dyn Fn(&mut StdRng) -> String, count: usize| {
        (0..count).map(|_| of(rng)).collect::<Vec<_>>().join(",")
    };
    match kind {
        "POINT" => list(&point, 1),
        "LINESTRING" => list(&point, count + 1),
        "POLYGON" => {
            let begin = list(&point, 1);
            format!("({begin},{},{begin})", list(&point, count + 1))
        }
        "MULTIPOINT" => list(&point, count),
        "MULTILINESTRING" => list(&|rng| format!("({})", content("LINESTRING", rng)), count),
        "MULTIPOLYGON" => list(&|rng| format!("({})", content("POLYGON", rng)), count),
        _ => list(
            &|rng| shape(["POINT", "POLYGON", "MULTIPOINT"][rng.random_range(0..3)], rng),
            count,
        ),
    }
}

/// The JSON form of what a SELECT answers for a GEOMETRY.
pub(super) fn geojson(stored: &[u8]) -> Result<String> {
    let (system, mut wkb) = stored.split_first_chunk().context("no SRID")?;
    let whole = object(&mut wkb)?;
    ensure!(wkb.is_empty(), "{} bytes too many", wkb.len());
    let open = whole.strip_suffix('}').context("not an object")?;
    Ok(format!("{open},\"srid\":{}}}", u32::from_le_bytes(*system)))
}

fn object(wkb: &mut &[u8]) -> Result<String> {
    ensure!(take::<1>(wkb)? == [1], "another byte order");
    let points = |wkb: &mut &[u8]| list(wkb, point);
    let polygon = |wkb: &mut &[u8]| list(wkb, points);
    let part = |wkb: &mut &[u8]| {
        let object = object(wkb)?;
        let (_, coordinates) = object.split_once(":[").context("no coordinates")?;
        anyhow::Ok(format!("[{}", coordinates.trim_end_matches('}')))
    };
    let (kind, member, value) = match u32::from_le_bytes(take(wkb)?) {
        1 => ("Point", "coordinates", point(wkb)?),
        2 => ("LineString", "coordinates", points(wkb)?),
        3 => ("Polygon", "coordinates", polygon(wkb)?),
        4 => ("MultiPoint", "coordinates", list(wkb, part)?),
        5 => ("MultiLineString", "coordinates", list(wkb, part)?),
        6 => ("MultiPolygon", "coordinates", list(wkb, part)?),
        7 => ("GeometryCollection", "geometries", list(wkb, object)?),
        other => bail!("a geometry of the kind {other}"),
    };
    Ok(format!("{{\"type\":\"{kind}\",\"{member}\":{value}}}"))
}

fn list(wkb: &mut &[u8], of: impl Fn(&mut &[u8]) -> Result<String>) -> Result<String> {
    let count = u32::from_le_bytes(take(wkb)?);
    let all = (0..count).map(|_| of(wkb)).collect::<Result<Vec<_>>>()?;
    Ok(format!("[{}]", all.join(",")))
}

fn point(wkb: &mut &[u8]) -> Result<String> {
    let (x, y) = (f64::from_le_bytes(take(wkb)?), f64::from_le_bytes(take(wkb)?));
    Ok(format!("[{x:?},{y:?}]"))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk().context("cut short")?;
    *bytes = rest;
    Ok(*taken)
}

//! Geometries as a server stores them: the SRID, and then the well-known binary form (OGC 06-103r4,
//! 8.2), made from the GeoJSON of an event.

use serde::Deserialize;

/// Geometries are nested at most so deep in an event.
const MAX_DEPTH: usize = 70;

/// A geometry in the words of GeoJSON (RFC 7946).
#[derive(Debug, Deserialize)]
struct GeoJson {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    coordinates: Coordinates,
    #[serde(default)]
    geometries: Vec<GeoJson>,
    #[serde(default)]
    srid: u32,
}

/// A position, or lists of positions.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Coordinates {
    Number(f64),
    List(Vec<Coordinates>),
}

impl Default for Coordinates {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// The bytes of a GeoJSON geometry with its `srid`, as MySQL and MariaDB store them.
///
/// # Errors
///
/// When it is no geometry.
pub(crate) fn stored(json: &str) -> Result<Vec<u8>, String> {
    let geometry: GeoJson =
        serde_json::from_str(json).map_err(|_| "it is not a GeoJSON geometry".to_owned())?;
    let mut bytes = geometry.srid.to_le_bytes().to_vec();
    geometry.write(&mut bytes, 0)?;
    Ok(bytes)
}

impl GeoJson {
    fn write(&self, bytes: &mut Vec<u8>, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("its geometries are nested too deep".to_owned());
        }
        let (code, of) = &self.shape()?;
        head(bytes, *code);
        match of {
            Shape::Position => self.coordinates.position(bytes),
            Shape::Positions => self.coordinates.positions(bytes),
            Shape::Rings => self.coordinates.each(bytes, Coordinates::positions),
            Shape::Many(part, of) => self.coordinates.each(bytes, |one, bytes| {
                head(bytes, *part);
                match of {
                    Part::Position => one.position(bytes),
                    Part::Positions => one.positions(bytes),
                    Part::Rings => one.each(bytes, Coordinates::positions),
                }
            }),
            Shape::Collection => {
                push_count(bytes, self.geometries.len())?;
                self.geometries.iter().try_for_each(|one| one.write(bytes, depth + 1))
            }
        }
    }

    /// The code of the kind, and how its coordinates are nested.
    fn shape(&self) -> Result<(u32, Shape), String> {
        Ok(match self.kind.as_str() {
            "Point" => (1, Shape::Position),
            "LineString" => (2, Shape::Positions),
            "Polygon" => (3, Shape::Rings),
            "MultiPoint" => (4, Shape::Many(1, Part::Position)),
            "MultiLineString" => (5, Shape::Many(2, Part::Positions)),
            "MultiPolygon" => (6, Shape::Many(3, Part::Rings)),
            "GeometryCollection" => (7, Shape::Collection),
            _ => return Err("it is a geometry of an unknown type".to_owned()),
        })
    }
}

/// How the coordinates of a geometry are nested.
enum Shape {
    Position,
    Positions,
    Rings,
    /// Parts, each with a head of its own.
    Many(u32, Part),
    Collection,
}

/// How those of a part are.
enum Part {
    Position,
    Positions,
    Rings,
}

impl Coordinates {
    fn list(&self) -> Result<&[Self], String> {
        match self {
            Self::List(list) => Ok(list),
            Self::Number(_) => Err("its coordinates are not nested as its type says".to_owned()),
        }
    }

    fn position(&self, bytes: &mut Vec<u8>) -> Result<(), String> {
        let [Self::Number(x), Self::Number(y)] = self.list()? else {
            return Err("a position has not two numbers".to_owned());
        };
        bytes.extend(x.to_le_bytes());
        bytes.extend(y.to_le_bytes());
        Ok(())
    }

    fn positions(&self, bytes: &mut Vec<u8>) -> Result<(), String> {
        self.each(bytes, Self::position)
    }

    fn each(
        &self,
        bytes: &mut Vec<u8>,
        write: impl Fn(&Self, &mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(), String> {
        let list = self.list()?;
        push_count(bytes, list.len())?;
        list.iter().try_for_each(|one| write(one, bytes))
    }
}

/// The byte order, little endian, and the kind.
fn head(bytes: &mut Vec<u8>, code: u32) {
    bytes.push(1);
    bytes.extend(code.to_le_bytes());
}

fn push_count(bytes: &mut Vec<u8>, count: usize) -> Result<(), String> {
    let count = u32::try_from(count).map_err(|_| "it has too many parts".to_owned())?;
    bytes.extend(count.to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(json: &str) -> String {
        stored(json).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn geometries_are_written_as_servers_store_them() {
        // SELECT HEX(ST_GeomFromText('POINT(1 2)', 5)), and the same of a MULTIPOINT(1 2).
        let point = "0101000000000000000000f03f0000000000000040";
        assert_eq!(
            hex(r#"{"type":"Point","coordinates":[1.0,2.0],"srid":5}"#),
            format!("05000000{point}")
        );
        assert_eq!(
            hex(r#"{"type":"MultiPoint","coordinates":[[1.0,2.0]],"srid":0}"#),
            format!("00000000010400000001000000{point}")
        );
        let collection =
            r#"{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,2]}]}"#;
        assert_eq!(hex(collection), format!("00000000010700000001000000{point}"));
    }

    #[test]
    fn what_is_no_geometry_is_refused() {
        for json in [
            "{}",
            r#"{"type":"Circle","coordinates":[1,2]}"#,
            r#"{"type":"Point","coordinates":[1]}"#,
            r#"{"type":"LineString","coordinates":[1,2]}"#,
        ] {
            assert!(stored(json).is_err(), "{json}");
        }
    }
}

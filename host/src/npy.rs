//! NumPy's files of one array: a header that is a Python dictionary, then elements. Source: NEP 1 and numpy.lib.format,
//! versions 1 to 3.
//!
//! Read here, not by a crate: those that there are multiply extents without looking, and recurse as deep as a header says.

use crate::data::class;
use crate::error::{DataFault, Error, Result};
use crate::files;
use selvedge_core::{DType, Element};
use selvedge_kernels::{bf16, f16};
use std::fmt::Write as _;
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Elements begin at a multiple of this.
const ALIGN: usize = 64;

/// An array: elements of one type, little-endian and row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Array {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The array in a file.
pub(crate) fn read(path: &Path) -> Result<Array> {
    Array::parse(&files::read(path)?).map_err(|reason| Error::Data {
        path: path.to_owned(),
        reason,
    })
}

impl Array {
    /// An array of these elements; those of `bf16`, which NumPy does not have, become `f32`.
    pub(crate) fn new<T: Element>(shape: Vec<usize>, elements: &[T]) -> Self {
        let mut bytes = Vec::new();
        if T::DTYPE == DType::Bf16 {
            let numbers = elements.iter().map(|element| element.to_f64() as f32);
            bytes.extend(numbers.flat_map(f32::to_le_bytes));
        } else {
            for element in elements {
                element.le_bytes(|of_element| bytes.extend(of_element));
            }
        }
        let dtype = match T::DTYPE {
            DType::Bf16 => DType::F32,
            dtype => dtype,
        };
        Self {
            dtype,
            shape,
            bytes,
        }
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Self, DataFault> {
        let (text, elements) = split(bytes).ok_or(DataFault::NoArray)?;
        let header = Header::parse(text).ok_or(DataFault::NoArray)?;
        let (dtype, is_big) = dtype(header.descr).ok_or_else(|| DataFault::Elements {
            found: header.descr.to_owned(),
        })?;
        if header.is_fortran && header.shape.len() > 1 {
            return Err(DataFault::Fortran);
        }
        let extents = header
            .shape
            .iter()
            .try_fold(1usize, |len, &n| len.checked_mul(n));
        let expected = extents.and_then(|len| len.checked_mul(dtype.bytes()));
        let (expected, found) = (
            expected.map_or(u64::MAX, |len| len as u64),
            elements.len() as u64,
        );
        match expected.cmp(&found) {
            std::cmp::Ordering::Greater => return Err(DataFault::Truncated { expected, found }),
            std::cmp::Ordering::Less => return Err(DataFault::Trailing { expected }),
            std::cmp::Ordering::Equal => {}
        }
        let mut bytes = elements.to_vec();
        if is_big {
            for element in bytes.chunks_exact_mut(dtype.bytes()) {
                element.reverse();
            }
        }
        Ok(Self {
            dtype,
            shape: header.shape,
            bytes,
        })
    }

    /// The file that has it.
    pub(crate) fn to_file(&self) -> Vec<u8> {
        let mut shape = String::new();
        for extent in &self.shape {
            let _ = write!(shape, "{extent}, ");
        }
        let descr = descr(self.dtype);
        let mut text =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
        let before = MAGIC.len() + 4;
        let len = (before + text.len() + 1).next_multiple_of(ALIGN) - before;
        let _ = writeln!(text, "{:1$}", "", len - text.len() - 1);
        // As many extents as make a header of 64 KB are more than a network has.
        let len = (len as u16).to_le_bytes();
        [MAGIC, &[1, 0], &len, text.as_bytes(), &self.bytes].concat()
    }

    /// The elements as they lie in the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements, if they are of this type: as a network has them, whose unsigned types stand for signed numbers.
    pub(crate) fn elements<T: Element>(&self) -> impl Iterator<Item = T> {
        let elements = self.bytes.chunks_exact(self.dtype.bytes());
        elements.filter_map(T::from_le_bytes_of)
    }

    /// The elements as the numbers that NumPy shows.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        match self.dtype {
            DType::I8 => self.each(|bytes| i8::from_le_bytes(bytes).into()),
            DType::U8 => self.each(|bytes| u8::from_le_bytes(bytes).into()),
            DType::I16 => self.each(|bytes| i16::from_le_bytes(bytes).into()),
            DType::U16 => self.each(|bytes| u16::from_le_bytes(bytes).into()),
            DType::I32 => self.each(|bytes| i32::from_le_bytes(bytes).into()),
            DType::U32 => self.each(|bytes| u32::from_le_bytes(bytes).into()),
            DType::I64 => self.each(|bytes| i64::from_le_bytes(bytes) as f64),
            DType::U64 => self.each(|bytes| u64::from_le_bytes(bytes) as f64),
            DType::F16 => self.each(|bytes| f16::from_le_bytes(bytes).into()),
            DType::Bf16 => self.each(|bytes| bf16::from_le_bytes(bytes).into()),
            DType::F32 => self.each(|bytes| f32::from_le_bytes(bytes).into()),
            DType::F64 => self.each(f64::from_le_bytes),
        }
    }

    fn each<const N: usize>(&self, number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        self.bytes
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| number(bytes))
            .collect()
    }

    /// The elements as classes.
    pub(crate) fn labels(&self) -> std::result::Result<Vec<u16>, DataFault> {
        let numbers = self.numbers().into_iter().enumerate();
        let labels =
            numbers.map(|(index, value)| class(value).ok_or(DataFault::Class { index, value }));
        labels.collect()
    }
}

/// The text of the header, and the elements.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (&[major, _], rest) = rest.split_first_chunk()?;
    let (len, rest) = match major {
        1 => {
            let (&len, rest) = rest.split_first_chunk()?;
            (u16::from_le_bytes(len).into(), rest)
        }
        2 | 3 => {
            let (&len, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(len) as usize, rest)
        }
        _ => return None,
    };
    let (text, elements) = rest.split_at_checked(len)?;
    Some((std::str::from_utf8(text).ok()?, elements))
}

/// What a header says.
struct Header<'t> {
    descr: &'t str,
    is_fortran: bool,
    shape: Vec<usize>,
}

impl<'t> Header<'t> {
    /// Its three entries in any order.
    fn parse(text: &'t str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut descr, mut is_fortran, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, value) = string(rest)?;
            let value = value.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                "descr" => {
                    let (found, rest) = string(value)?;
                    descr = Some(found);
                    rest
                }
                "fortran_order" => {
                    let end = value.find(',').unwrap_or(value.len());
                    let (word, rest) = value.split_at(end);
                    is_fortran = match word.trim_end() {
                        "True" => Some(true),
                        "False" => Some(false),
                        _ => return None,
                    };
                    rest
                }
                "shape" => {
                    let (extents, rest) = value.strip_prefix('(')?.split_once(')')?;
                    let extents = extents.trim().trim_end_matches(',');
                    let extents = extents.split(',').map(str::trim);
                    let extents = extents.filter(|extent| !extent.is_empty());
                    shape = Some(
                        extents
                            .map(|extent| extent.parse().ok())
                            .collect::<Option<_>>()?,
                    );
                    rest
                }
                _ => return None,
            };
            rest = rest.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(rest) => rest.trim_start(),
                None if rest.is_empty() => rest,
                None => return None,
            };
        }
        Some(Self {
            descr: descr?,
            is_fortran: is_fortran?,
            shape: shape?,
        })
    }
}

/// A string at the beginning of `text`, and what follows.
fn string(text: &str) -> Option<(&str, &str)> {
    let quote = text
        .chars()
        .next()
        .filter(|quote| ['\'', '"'].contains(quote))?;
    text.strip_prefix(quote)?.split_once(quote)
}

/// The element type, and whether its most significant byte comes first.
fn dtype(descr: &str) -> Option<(DType, bool)> {
    let order = descr.chars().next()?;
    let kind = descr.strip_prefix(['<', '>', '|', '='])?;
    let dtype = DType::ALL
        .into_iter()
        .find(|&dtype| dtype != DType::Bf16 && self::descr(dtype).strip_prefix('<') == Some(kind));
    Some((dtype?, order == '>'))
}

/// An element type as NumPy names it.
const fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::I8 => "<i1",
        DType::U8 => "<u1",
        DType::I16 => "<i2",
        DType::U16 => "<u2",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::I64 => "<i8",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::F32 | DType::Bf16 => "<f4",
        DType::F64 => "<f8",
    }
}

#[cfg(test)]
mod tests {
    use super::{Array, Header, MAGIC};
    use crate::error::DataFault;
    use proptest::prelude::*;
    use selvedge_core::DType;
    use selvedge_kernels::{bf16, f16};

    /// A file of version 1 with this header.
    fn file(header: &str, elements: &[u8]) -> Vec<u8> {
        let len = (header.len() as u16).to_le_bytes();
        [MAGIC, &[1, 0], &len, header.as_bytes(), elements].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let arrays = [
            Array::new(vec![2, 3], &[1i8, -2, 3, -4, 5, -6]),
            Array::new(vec![2], &[0u16, u16::MAX]),
            Array::new(vec![1, 2], &[f16::from_f32(0.5), f16::NAN]),
            Array::new(vec![0, 7], &[0i64; 0]),
            Array::new(Vec::new(), &[1.5f64]),
        ];
        for array in arrays {
            let file = array.to_file();
            assert_eq!((file.len() - array.bytes().len()) % 64, 0);
            assert_eq!(Array::parse(&file).unwrap(), array);
        }
        let array = Array::new(vec![1], &[bf16::from_f32(-1.5)]);
        assert_eq!((array.dtype, array.numbers()), (DType::F32, vec![-1.5]));
    }

    #[test]
    fn numbers_are_those_that_numpy_shows() {
        assert_eq!(Array::new(vec![2], &[0u8, 255]).numbers(), [0.0, 255.0]);
        assert_eq!(
            Array::new(vec![2], &[3u64, 1 << 40]).numbers(),
            [3.0, 40f64.exp2()]
        );
        assert!(Array::new(vec![2], &[-3i16, 7]).labels().is_err());
        assert_eq!(
            Array::new(vec![2], &[3i64, 65_535]).labels().unwrap(),
            [3, 65_535]
        );
    }

    /// As NumPy 2.3 writes them: `numpy.save("x.npy", numpy.array([[1, 2], [3, 4]], dtype=...))`.
    #[test]
    fn files_of_numpy_are_read() {
        let header = "{'descr': '>i2', 'fortran_order': False, 'shape': (2, 2), }";
        let array = Array::parse(&file(
            &format!("{header:117}\n"),
            &[0, 1, 0, 2, 0, 3, 255, 252],
        ))
        .unwrap();
        assert_eq!((array.dtype, &*array.shape), (DType::I16, &[2, 2][..]));
        assert_eq!(array.numbers(), [1.0, 2.0, 3.0, -4.0]);
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (3,), }";
        let array = Array::parse(&file(header, &[1, 2, 3])).unwrap();
        assert!(array.elements::<u8>().eq([1, 2, 3]));
        let header = Header::parse("{\"shape\": (), 'fortran_order':False,'descr':'<f4'}").unwrap();
        assert_eq!(
            (header.descr, header.is_fortran, header.shape),
            ("<f4", false, vec![])
        );
    }

    #[test]
    fn what_is_no_array_is_refused() {
        let of = |descr: &str, order: &str, shape: &str| {
            let header =
                format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}");
            Array::parse(&file(&header, &[0; 8]))
                .unwrap_err()
                .to_string()
        };
        for (descr, order, shape, part) in [
            ("'<f4'", "False", "(3,)", "truncated"),
            ("'<f4'", "False", "(1,)", "more than"),
            ("'<f4'", "False", "(4294967296, 4294967296)", "truncated"),
            ("'<f4'", "False", "(99999999999999999999,)", "no NumPy"),
            ("'<f4'", "False", "(-1,)", "no NumPy"),
            ("'<f4'", "True", "(1, 2)", "Fortran"),
            ("'<U4'", "False", "(2,)", "`<U4`"),
            ("'|b1'", "False", "(8,)", "`|b1`"),
            ("'<c8'", "False", "(1,)", "`<c8`"),
            ("[('a', '<f4')]", "False", "(1,)", "no NumPy"),
            ("'<f4'", "Maybe", "(1,)", "no NumPy"),
        ] {
            let error = of(descr, order, shape);
            assert!(error.contains(part), "{descr} {order} {shape}: {error}");
        }
        let whole = Array::new(vec![2], &[1.0f32, 2.0]).to_file();
        for len in 0..whole.len() {
            assert!(Array::parse(&whole[..len]).is_err(), "{len} bytes");
        }
        let large = [MAGIC, &[2, 0], &u32::MAX.to_le_bytes()].concat();
        assert!(matches!(Array::parse(&large), Err(DataFault::NoArray)));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Array::parse(&bytes);
            let _ = Array::parse(&[MAGIC, &[1, 0], &bytes[..]].concat());
        }

        #[test]
        fn hostile_headers_never_panic(text in "[{}():,' a-z0-9<|]{0,60}") {
            let _ = Array::parse(&file(&text, &[0; 8]));
        }
    }
}

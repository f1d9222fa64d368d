//! IDX files, as MNIST comes in: a big-endian header, then bytes. Source: the format's description
//! on the MNIST page (LeCun, Cortes and Burges).

use super::{Features, MOST, Part};
use crate::error::{DataFault, Error, Result};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Unsigned bytes in three axes: image, row, column.
const IMAGES: u32 = 0x0000_0803;
/// Unsigned bytes in one axis.
const LABELS: u32 = 0x0000_0801;
/// No more rows or columns than this, so that their product is a number.
const MAX_SIDE: u32 = 1 << 12;

/// The images and labels of one part, of this size if it is known.
pub(super) fn read(folder: &Path, part: &str, size: Option<&[usize]>) -> Result<Part> {
    let (path, mut file) = open(folder, &format!("{part}-images-idx3-ubyte"))?;
    let found = images(&mut file).and_then(|(size_found, pixels)| match size {
        Some(&[rows, columns]) if size_found != [rows, columns] => Err(DataFault::Size {
            found: size_found,
            expected: format!("{rows}x{columns}, as those to train on"),
        }),
        _ => Ok((size_found, pixels)),
    });
    let (size, pixels) = found.map_err(|reason| Error::Data { path, reason })?;
    let count = pixels.len() / size.iter().product::<usize>().max(1);
    let (path, mut file) = open(folder, &format!("{part}-labels-idx1-ubyte"))?;
    let labels = labels(&mut file, count);
    match labels {
        Ok(labels) => Ok(Part {
            file: path,
            shape: size.to_vec(),
            features: Features::Pixels(pixels),
            labels,
        }),
        Err(reason) => Err(Error::Data { path, reason }),
    }
}

/// The file, or the same with `.gz` behind its name, which is then decompressed.
fn open(folder: &Path, name: &str) -> Result<(PathBuf, Box<dyn Read>)> {
    let path = folder.join(name);
    let zipped = folder.join(format!("{name}.gz"));
    let found = |path: PathBuf, is_zipped| match File::open(&path) {
        Ok(file) if is_zipped => {
            let unzip = flate2::read::MultiGzDecoder::new(BufReader::new(file));
            Ok((path, Box::new(Unzip(unzip)) as Box<dyn Read>))
        }
        Ok(file) => Ok((path, Box::new(BufReader::new(file)) as Box<dyn Read>)),
        Err(error) => Err(Error::Data {
            path,
            reason: DataFault::Io(error),
        }),
    };
    if path.exists() {
        found(path, false)
    } else if zipped.exists() {
        found(zipped, true)
    } else {
        Err(Error::Data {
            path,
            reason: DataFault::Missing,
        })
    }
}

/// Marks what the decompressor refuses, so that it can be told from other failures.
struct Unzip<R>(R);

/// An error of the decompressor.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ZipError(std::io::Error);

impl<R: Read> Read for Unzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                std::io::Error::new(ErrorKind::InvalidData, ZipError(error))
            }
            _ => error,
        })
    }
}

/// From an input error to what is wrong with the file.
fn fault(error: std::io::Error) -> DataFault {
    match error.kind() {
        ErrorKind::InvalidData => DataFault::NotGzip(error),
        ErrorKind::UnexpectedEof => DataFault::Header,
        _ => DataFault::Io(error),
    }
}

type Checked<T> = std::result::Result<T, DataFault>;

fn word(file: &mut impl Read) -> Checked<u32> {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes).map_err(fault)?;
    Ok(u32::from_be_bytes(bytes))
}

fn magic(file: &mut impl Read, kind: &'static str, expected: u32) -> Checked<()> {
    match word(file)? {
        found if found == expected => Ok(()),
        found => Err(DataFault::Magic {
            kind,
            found,
            expected,
        }),
    }
}

/// Rows and columns of an image, and all pixels: `[images, rows, columns]`.
fn images(file: &mut impl Read) -> Checked<([usize; 2], Vec<u8>)> {
    magic(file, "images", IMAGES)?;
    let (found, rows, columns) = (word(file)?, word(file)?, word(file)?);
    let size = [rows, columns].map(|side| side as usize);
    let is_side = |side| (1..=MAX_SIDE).contains(&side);
    if !is_side(rows) || !is_side(columns) {
        return Err(DataFault::Size {
            found: size,
            expected: format!("1 to {MAX_SIDE} rows and columns"),
        });
    }
    if found == 0 {
        return Err(DataFault::Empty { of: "images" });
    }
    if found as usize > MOST {
        return Err(DataFault::TooMany {
            found: found as usize,
            most: MOST,
        });
    }
    let pixels = u64::from(found) * u64::from(rows) * u64::from(columns);
    Ok((size, rest(file, pixels)?))
}

/// The labels of `images` images.
fn labels(file: &mut impl Read, images: usize) -> Checked<Vec<u16>> {
    magic(file, "labels", LABELS)?;
    let labels = word(file)?;
    if labels as usize != images {
        return Err(DataFault::Count {
            labels: labels as usize,
            samples: images,
            of: "images",
        });
    }
    let labels = rest(file, u64::from(labels))?;
    Ok(labels.into_iter().map(u16::from).collect())
}

/// The `expected` bytes up to the end of the file. Memory grows with the bytes that are there, not
/// with what a header says.
fn rest(file: &mut impl Read, expected: u64) -> Checked<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more shows that the file goes on.
    match file.take(expected + 1).read_to_end(&mut bytes) {
        Ok(_) => {}
        // A gzip file that is cut off.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(fault(error)),
    }
    let found = bytes.len() as u64;
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Err(DataFault::Truncated { expected, found }),
        std::cmp::Ordering::Equal => Ok(bytes),
        std::cmp::Ordering::Greater => Err(DataFault::Trailing { expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::{images, labels};
    use crate::error::DataFault;
    use proptest::prelude::*;

    /// Two images and their labels.
    fn sample() -> (Vec<u8>, Vec<u8>) {
        let mut pixels = [0x803u32, 2, 28, 28]
            .map(u32::to_be_bytes)
            .as_flattened()
            .to_vec();
        pixels.extend((0..2 * 784u32).map(|i| i as u8));
        let mut classes = [0x801u32, 2].map(u32::to_be_bytes).as_flattened().to_vec();
        classes.extend([7, 3]);
        (pixels, classes)
    }

    #[test]
    fn a_whole_file_is_read() {
        let (pixels, classes) = sample();
        let found = images(&mut &*pixels).unwrap();
        assert_eq!(found, ([28, 28], pixels[16..].to_vec()));
        assert_eq!(labels(&mut &*classes, 2).unwrap(), [7, 3]);
    }

    #[test]
    fn every_truncation_is_refused() {
        let (pixels, classes) = sample();
        for len in 0..pixels.len() {
            let fault = images(&mut &pixels[..len]).unwrap_err();
            match fault {
                DataFault::Header => assert!(len < 16),
                DataFault::Truncated {
                    expected: 1568,
                    found,
                } => assert_eq!(found + 16, len as u64),
                other => panic!("{len} bytes: {other}"),
            }
        }
        for len in 0..classes.len() {
            assert!(labels(&mut &classes[..len], 2).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_refused() {
        let (pixels, classes) = sample();
        for bit in 0..16 * 8 {
            let mut broken = pixels.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(images(&mut &*broken).is_err(), "bit {bit}");
        }
        for bit in 0..8 * 8 {
            let mut broken = classes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(labels(&mut &*broken, 2).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096), count in 0usize..9) {
            let _ = images(&mut &*bytes);
            let _ = labels(&mut &*bytes, count);
        }

        #[test]
        fn hostile_bodies_are_read_or_refused(
            found in 0u32..4, rows in 27u32..30, columns in 27u32..30, len in 0usize..4000,
        ) {
            let mut bytes = [0x803, found, rows, columns].map(u32::to_be_bytes).as_flattened().to_vec();
            bytes.resize(16 + len, 1);
            let is_right = found > 0 && len == (found * rows * columns) as usize;
            prop_assert_eq!(images(&mut &*bytes).is_ok(), is_right);
        }
    }
}

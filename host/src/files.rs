//! Files: read whole, written whole or not at all.

use crate::error::{Error, Result};
use selvedge_core::image::Image;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Says which file it was.
pub(crate) fn failed(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::File {
        path: path.to_owned(),
        source,
    }
}

/// The bytes of a file.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(failed(path))
}

/// The text of a file.
///
/// # Errors
/// [`Error::File`].
pub(crate) fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(failed(path))
}

/// A file that is going to be written: its place is known to be writable, and nothing stands there before
/// [`Target::write`].
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
}

impl Target {
    /// Makes the folder of `path`, and tries to make a file in it.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let target = Self {
            path: path.to_owned(),
        };
        fs::create_dir_all(target.folder())?;
        target.temporary()?;
        Ok(target)
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    /// A file beside it; it goes when it is dropped.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // As any new file, less what the user's mask takes away.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        builder.tempfile_in(self.folder())
    }

    /// Where it will stand.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file; it appears whole or not at all, and one that was there is as it was then.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.temporary()?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

/// A file that is going to be written.
///
/// # Errors
/// [`Error::File`] if its place is not writable.
pub(crate) fn target(path: &Path) -> Result<Target> {
    Target::new(path).map_err(failed(path))
}

/// Writes a file whole or not at all.
///
/// # Errors
/// [`Error::File`]; a file that was there is as it was then.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let target = Target {
        path: path.to_owned(),
    };
    target.write(bytes).map_err(failed(path))
}

/// Bytes at an address that an image may have.
#[derive(Debug)]
pub(crate) struct Aligned {
    room: Vec<u128>,
    len: usize,
}

impl Aligned {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut room = vec![0u128; bytes.len().div_ceil(size_of::<u128>())];
        let place: &mut [u8] = bytemuck::cast_slice_mut(&mut room);
        (place.iter_mut().zip(bytes)).for_each(|(to, &from)| *to = from);
        Self {
            room,
            len: bytes.len(),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let room: &[u8] = bytemuck::cast_slice(&self.room);
        room.get(..self.len).unwrap_or_default()
    }

    /// The image that these bytes are.
    ///
    /// # Errors
    /// [`Error::Image`] with what is wrong in the file `path`.
    pub(crate) fn image(&self, path: &Path) -> Result<Image<'_>> {
        Image::parse(self.bytes()).map_err(|source| Error::Image {
            path: path.to_owned(),
            source,
        })
    }
}

/// Calls `then` with the image in `bytes`, and with these at an address that an image may have.
///
/// # Errors
/// [`Error::Image`] if these bytes are none.
pub(crate) fn with_image<R>(
    bytes: &[u8],
    path: &Path,
    then: impl FnOnce(&Image<'_>, &[u8]) -> R,
) -> Result<R> {
    let aligned = Aligned::new(bytes);
    Ok(then(&aligned.image(path)?, aligned.bytes()))
}

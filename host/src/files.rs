//! Files: read whole, written whole or not at all.

use crate::error::{Error, Result};
use selvedge_core::image::Image;
use std::fs;
use std::io::Write as _;
use std::path::Path;

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
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

/// Writes a file beside `path`, and renames it when it is whole.
///
/// # Errors
/// [`Error::File`]; a file that was there is as it was then.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = failed(path);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(fs::Permissions::from_mode(0o666)); // as for files that are not temporary
    }
    let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")));
    let mut file = file.map_err(&failed)?;
    file.write_all(bytes).map_err(&failed)?;
    file.as_file().sync_all().map_err(&failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
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
    let words = bytes.len().div_ceil(size_of::<u128>());
    let mut room = vec![0u128; words];
    let place: &mut [u8] = bytemuck::cast_slice_mut(&mut room);
    let place = place.get_mut(..bytes.len()).unwrap_or_default();
    place.copy_from_slice(bytes);
    let image = Image::parse(place).map_err(|source| Error::Image {
        path: path.to_owned(),
        source,
    })?;
    Ok(then(&image, place))
}

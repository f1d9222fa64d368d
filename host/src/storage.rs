//! What a session has learned, in files.

use crate::error::{Error, Result};
use crate::files::failed;
use selvedge_core::session::{Slot, Storage};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Two files, of which one is written while the other holds the last state: if the power goes, or the program is killed, at
/// any byte, what is loaded is the last state or the new one.
///
/// # Example
/// ```
/// use selvedge::storage::FileStorage;
/// use selvedge_core::image::Image;
/// use selvedge_core::network::{Dense, Network, Options};
/// use selvedge_core::{DType, ops, session::Session};
///
/// let options = Options { train: true, ..Options::default() };
/// let bytes = Network::new([2]).layer("head", Dense::new(2)).compile(DType::I8, &options)?;
/// # let mut room = vec![0u128; bytes.len().div_ceil(16)];
/// # bytemuck::cast_slice_mut(&mut room)[..bytes.len()].copy_from_slice(&bytes);
/// # let bytes: &[u8] = bytemuck::cast_slice(&room);
/// let image = Image::parse(bytes)?;
/// let mut arena = vec![0; image.arena_bytes()];
/// let mut session = Session::new(&image, &mut arena, ops::ALL)?;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.state");
/// let mut storage = FileStorage::open(&path)?; // model.state.0 and model.state.1
/// session.save_to(&mut storage)?;
/// session.load_from(&mut storage)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileStorage {
    slots: [(PathBuf, File); 2],
    failure: Option<Error>,
}

impl FileStorage {
    /// The files `path` with `.0` and `.1` behind its name, which are made if they are not there.
    ///
    /// # Errors
    /// [`Error::File`] if they cannot be read and written.
    pub fn open(path: &Path) -> Result<Self> {
        let open = |slot: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(slot);
            let path = PathBuf::from(name);
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path).map_err(failed(&path))?;
            Ok::<_, Error>((path, file))
        };
        let slots = [open(".0")?, open(".1")?];
        // A file that is there after a loss of power has its name in the folder.
        #[cfg(unix)]
        {
            let folder = match path.parent() {
                Some(folder) if folder != Path::new("") => folder,
                _ => Path::new("."),
            };
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(failed(folder))?;
        }
        Ok(Self {
            slots,
            failure: None,
        })
    }

    /// Why a session said that its storage failed, once.
    pub fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Does something with the file of a slot, and keeps what goes wrong.
    fn with<R>(
        &mut self,
        slot: Slot,
        act: impl FnOnce(&mut File) -> io::Result<R>,
    ) -> std::result::Result<R, Failed> {
        let [first, second] = &mut self.slots;
        let (path, file) = match slot {
            Slot::First => first,
            Slot::Second => second,
        };
        act(file).map_err(|source| {
            self.failure = Some(failed(path)(source));
            Failed
        })
    }
}

/// The storage failed: [`FileStorage::take_failure`] says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

impl Storage for FileStorage {
    type Error = Failed;

    fn capacity(&self) -> usize {
        u32::MAX as usize // more than a state has
    }

    fn read(
        &mut self,
        slot: Slot,
        offset: usize,
        to: &mut [u8],
    ) -> std::result::Result<(), Failed> {
        self.with(slot, |file| {
            file.seek(SeekFrom::Start(offset as u64))?;
            let mut rest = to;
            while !rest.is_empty() {
                match file.read(rest) {
                    // Behind the end nothing was written.
                    Ok(0) => {
                        rest.fill(0);
                        break;
                    }
                    Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }

    fn erase(&mut self, slot: Slot) -> std::result::Result<(), Failed> {
        self.with(slot, |file| file.set_len(0))
    }

    fn write(&mut self, slot: Slot, offset: usize, from: &[u8]) -> std::result::Result<(), Failed> {
        self.with(slot, |file| {
            file.seek(SeekFrom::Start(offset as u64))?;
            file.write_all(from)
        })
    }

    fn flush(&mut self, slot: Slot) -> std::result::Result<(), Failed> {
        self.with(slot, |file| file.sync_all())
    }
}

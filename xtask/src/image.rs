//! Sections and symbols of a firmware image.

use crate::Result;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags};
use std::path::Path;

const SHF_WRITE: u64 = 1;
const SHF_ALLOC: u64 = 2;

/// A section that occupies memory on the device.
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) is_in_flash: bool,
    pub(crate) is_in_ram: bool,
}

/// What an image occupies, and what it is made of.
pub(crate) struct Image {
    pub(crate) sections: Vec<Section>,
    pub(crate) symbols: Vec<(String, u64)>,
}

impl Image {
    /// Reads an ELF file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let bytes = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
        let file = object::File::parse(&*bytes).map_err(|error| format!("{name}: {error}"))?;
        let mut sections = Vec::new();
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else {
                continue;
            };
            // riscv-rt reserves what is left as stack: the high-water mark says how much is used.
            let is_reserve = section.name() == Ok(".stack");
            if sh_flags & SHF_ALLOC == 0 || section.size() == 0 || is_reserve {
                continue;
            }
            let is_zeroed = section.kind() == object::SectionKind::UninitializedData;
            sections.push(Section {
                name: section.name().unwrap_or("?").to_owned(),
                bytes: section.size(),
                is_in_flash: !is_zeroed,
                is_in_ram: sh_flags & SHF_WRITE != 0,
            });
        }
        let symbols = file
            .symbols()
            .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.size())))
            .filter(|(name, _)| !name.is_empty() && !name.starts_with('$'))
            .collect();
        Ok(Self { sections, symbols })
    }

    /// Bytes of flash.
    pub(crate) fn flash_bytes(&self) -> u64 {
        self.sections
            .iter()
            .filter(|section| section.is_in_flash)
            .map(|section| section.bytes)
            .sum()
    }

    /// Bytes of flash that the embedded data set takes.
    pub(crate) fn data_set_bytes(&self) -> u64 {
        let is_data = |name: &str| name.contains("selvedge_digits") && name.contains("RECORDS");
        self.symbols
            .iter()
            .filter(|(name, _)| is_data(name))
            .map(|(_, bytes)| bytes)
            .sum()
    }

    /// Bytes of RAM that statics take.
    pub(crate) fn static_bytes(&self) -> u64 {
        self.sections
            .iter()
            .filter(|section| section.is_in_ram)
            .map(|section| section.bytes)
            .sum()
    }
}

//! `cargo xtask size`: flash and RAM of the firmware, by section.

use crate::Result;
use crate::board::ALL;
use crate::image::Image;

/// Show flash and RAM of the firmware images by section, in bytes.
#[derive(clap::Args)]
pub(crate) struct Size {}

impl Size {
    pub(crate) fn run(&self) -> Result<()> {
        for board in ALL {
            let image = Image::read(&board.build("train-digits", "")?)?;
            println!("{} ({}), train-digits", board.name, board.core);
            for section in &image.sections {
                let place = match (section.is_in_flash, section.is_in_ram) {
                    (true, true) => "flash, RAM",
                    (true, false) => "flash",
                    _ => "RAM",
                };
                println!("  {:<16} {:>8}  {place}", section.name, section.bytes);
            }
            println!("  {:<16} {:>8}", "flash", image.flash_bytes());
            println!(
                "  {:<16} {:>8}  without the stack",
                "RAM",
                image.static_bytes()
            );
        }
        Ok(())
    }
}

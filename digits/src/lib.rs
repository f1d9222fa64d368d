#![no_std]
//! digits

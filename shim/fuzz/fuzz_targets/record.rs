#![no_main]
harness::target!(record);

#![no_main]
harness::target!(state_file);

#![no_main]
harness::target!(spec);

#![no_main]
harness::target!(bootstrap);

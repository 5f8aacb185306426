#![no_main]
harness::target!(proc);

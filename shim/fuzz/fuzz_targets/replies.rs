#![no_main]
harness::target!(replies);

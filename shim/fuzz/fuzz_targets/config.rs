#![no_main]
harness::target!(config);

#![no_main]
harness::target!(requests);

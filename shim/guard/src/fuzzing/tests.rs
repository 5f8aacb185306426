use std::fs;

use super::*;

/// Each target with the samples in its corpus: what the fuzzer starts from, and what it once found.
#[test]
fn the_corpus_of_each_fuzz_target_passes() {
    type Run = fn(&[u8]);
    let targets: [(&str, Run); 8] = [
        ("bootstrap", bootstrap),
        ("config", config),
        ("proc", proc),
        ("record", record),
        ("replies", replies),
        ("requests", requests),
        ("spec", spec),
        ("state_file", state_file),
    ];
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    assert_eq!(fs::read_dir(&corpus).unwrap().count(), targets.len());
    for (name, target) in targets {
        let samples: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().flatten().collect();
        assert!(!samples.is_empty(), "{name}");
        for sample in samples {
            // The name of the last one is what a failure leaves to be seen.
            println!("{}", sample.path().display());
            target(&fs::read(sample.path()).unwrap());
        }
    }
}

use super::*;

/// What gVisor 2026-09 says of one of two containers.
const TOLD: &str = r#"{"event":{"type":"stats","id":"c1","data":{
    "cpu":{"usage":{}},
    "memory":{"usage":{"limit":0,"usage":12345,"failcnt":0},"swap":{"limit":0,"failcnt":0},
        "kernel":{"limit":0,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":0}},
    "pids":{"current":3},
    "network_interfaces":[{"Name":"lo","RxBytes":1}]}},
    "containerUsage":{"c1":30,"c0":10}}"#;

fn told(text: &str) -> serde_json::Result<Told> {
    serde_json::from_str(text)
}

#[test]
fn an_answer_is_taken_as_runsc_takes_it() {
    let usage = told(TOLD).unwrap().of("c1", Some(100)).unwrap().usage;
    assert_eq!((usage.cpu.usage.total, usage.memory.usage.usage, usage.pids.current), (75, 12345, 3));
    assert_eq!(told(TOLD).unwrap().of("c1", None).unwrap().usage.cpu.usage.total, 30);
    // No list: gVisor of 2025 tells the container's own time where the guest has cgroups, a newer one nothing.
    let nobody = TOLD.replace(r#"{"c1":30,"c0":10}"#, "null");
    let total = |text: &str| told(text).unwrap().of("c1", Some(100)).unwrap().usage.cpu.usage.total;
    assert_eq!(total(&nobody), 0);
    assert_eq!(total(&nobody.replace(r#""usage":{}"#, r#""usage":{"total":7}"#)), 7);
}

#[test]
fn another_containers_numbers_are_nonsense() {
    assert!(matches!(told(TOLD).unwrap().of("c0", None), Err(Unanswered::Nonsense)));
    let other = TOLD.replace("\"stats\"", "\"oom\"");
    assert!(matches!(told(&other).unwrap().of("c1", None), Err(Unanswered::Nonsense)));
}

#[test]
fn a_field_that_is_not_known_is_not_left_out() {
    for (old, new) in [
        (r#""usage":{}"#, r#""usage":{"percpu":[1]}"#),
        (r#""cpu":{"#, r#""cpu":{"throttling":{"periods":1},"#),
        (r#""pids":{"#, r#""blkio":{},"pids":{"#),
        (r#""current":3"#, r#""current":-3"#),
        (r#""type":"stats""#, r#""type":"stats","more":1"#),
        (r#""containerUsage""#, r#""containerusage""#),
    ] {
        let text = TOLD.replacen(old, new, 1);
        assert_ne!(text, TOLD);
        assert!(told(&text).is_err(), "{text}");
    }
}

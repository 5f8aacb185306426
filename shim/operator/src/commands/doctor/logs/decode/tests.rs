use super::*;

fn one(line: &str) -> Record {
    let mut all = decode(line);
    assert_eq!(all.len(), 1, "{line}: {all:?}");
    all.remove(0)
}

#[test]
fn a_trailing_object_is_klogs_and_not_the_lines() {
    let record = one(
        r#"Feb 03 04:05:06 n kubelet[8]: E0203 04:00:06.111222     812 k.go:1] "x" id={"Type":"c","ID":"1"}"#,
    );
    assert_eq!((record.form, record.speaker), (Form::Klog, Some(Speaker::Kubelet)));
    assert_eq!(record.text, r#""x" id={"Type":"c","ID":"1"}"#);
    assert_eq!(record.time.unwrap().words, "02-03 04:00:06.111222");
    assert_eq!(record.sent.unwrap().words, "Feb 03 04:05:06");
}

#[test]
fn an_envelope_in_an_envelope_is_taken_off() {
    let logrus = r#"time="2026-02-03T04:05:06Z" level=error msg="StopPodSandbox for \"1\" failed""#;
    let docker =
        serde_json::json!({"log": format!("{logrus}\n"), "stream": "stderr", "time": "2026-02-03T05:00:00Z"});
    let gcp = serde_json::json!({"jsonPayload": {"MESSAGE": docker.to_string()}, "timestamp": "2026-02-03T06:00:00Z"});
    let record = one(&format!("10.5.0.3: {gcp}"));
    assert_eq!(record.text, r#"time="2026-02-03T04:05:06Z" level=error msg="StopPodSandbox for "1" failed""#);
    assert_eq!(record.time.unwrap().words, "2026-02-03T04:05:06Z");
    assert_eq!(record.sent.unwrap().words, "2026-02-03T05:00:00Z");
}

#[test]
fn json_of_logrus_and_of_klog_reads_as_their_text() {
    let record = one(
        r#"10.5.0.3: {"error":"a \"b\"","level":"error","msg":"get state for 0c","time":"2026-02-03T04:05:06Z"}"#,
    );
    assert_eq!(record.text, r#"get state for 0c error="a "b"" level="error" time="2026-02-03T04:05:06Z""#);
    assert_eq!(record.speaker, Some(Speaker::Containerd));
    let record = one(
        r#"{"ts":1734412365036.367,"caller":"k/p.go:1","msg":"Error syncing pod","pod":{"name":"web","namespace":"shop"}}"#,
    );
    assert!(record.text.contains(r#"pod={"name":"web","namespace":"shop"}"#), "{}", record.text);
    assert_eq!((record.speaker, record.time.unwrap().millis), (Some(Speaker::Kubelet), 1_734_412_365_036));
}

#[test]
fn klog_in_logrus_is_klog() {
    let record = one(
        r#"time="2026-02-03T04:05:06Z" level=error msg="E0203 04:05:06.111222  812 k.go:1] \"Failed\" id=\"1\"""#,
    );
    assert_eq!((record.form, record.text.as_str()), (Form::Klog, r#""Failed" id="1"#));
}

#[test]
fn csv_and_ruby_quote_in_their_own_way() {
    let csv =
        r#"2026-02-03T04:05:06Z,n1,"E0203 04:05:06.111222  812 k.go:1] ""Failed to stop sandbox"" id=""1"""#;
    assert!(one(csv).text.starts_with(r#""Failed to stop sandbox" id="1""#), "{}", one(csv).text);
    let ruby = r#"[0] host: [1770091506.111222, {"log"=>"plain \"words\" => here", "a"=>1}]"#;
    assert_eq!(one(ruby).text, r#"plain "words" => here"#);
}

#[test]
fn who_speaks_is_told_by_the_envelope() {
    let speaker = |line: &str| one(line).speaker;
    assert_eq!(speaker("Feb 03 04:05:06 n kernel: INFO: task x:1 blocked"), Some(Speaker::Kernel));
    assert_eq!(speaker("[  240.313308] systemd-shutdown[1]: Waiting"), Some(Speaker::Systemd));
    assert_eq!(speaker("[  240.313308] INFO: task x:1 blocked"), Some(Speaker::Kernel));
    assert_eq!(speaker("Feb 03 04:05:06 n sshd[99]: bye"), Some(Speaker::Other));
    assert_eq!(speaker("a line of a novel"), None);
    assert_eq!(
        speaker("  Normal   Pulled   21m (x2 over 7h)  kubelet, n  Container image"),
        Some(Speaker::Events)
    );
    assert_eq!(speaker("shop  2m11s  Warning  BackOff  pod/web  Back-off restarting"), Some(Speaker::Events));
    assert_eq!(speaker("Warning: 3s is no age"), None);
    assert_eq!(
        one("Warning  FailedSync  3m16s (x485 over 108m)  kubelet  busy").sent.unwrap().words,
        "3m16s ago"
    );
}

#[test]
fn any_line_can_be_taken_apart() {
    let lines = [
        "",
        "{",
        "{}",
        "[]",
        "x{\"ts\":1e300}",
        "pod=\"",
        "E1126 äöü",
        "E1126 17:31:49.90079ä  1 x.go:1] é",
        "\0\\",
        "{\"log\":{\"log\":{\"log\":{\"log\":{\"log\":{\"log\":{\"log\":{\"log\":{\"log\":\"x\"}}}}}}}}}",
        "{\"pod\":{}}",
        "time=\"",
        "time=\"é level=msg=",
        "[[[[[[[[[[",
        "{\"\"}",
        "{\\\"a\\\":1}",
        "\u{feff}\u{feff}",
    ];
    for line in lines {
        decode(line);
    }
}

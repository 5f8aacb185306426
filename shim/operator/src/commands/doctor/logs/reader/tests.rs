use super::*;

fn read(log: &str) -> (u64, Vec<Record>) {
    let mut all = Vec::new();
    let mut log = io::BufReader::with_capacity(1000, log.as_bytes());
    let (lines, result) = Reader::read(&mut log, |record| all.push(record));
    result.unwrap();
    (lines, all)
}

#[test]
fn a_line_that_does_not_end_is_cut_and_the_next_is_read() {
    let klog = |word: &str| format!("E0203 04:05:06.111222 812 k.go:1] {word}");
    let long = "x".repeat(3 * LONGEST_LINE as usize);
    let (lines, all) = read(&format!("{}\n{long}\n{}\n{}", klog("a"), klog("b"), klog("c")));
    assert_eq!((lines, all.len(), all[2].text.as_str(), all[3].text.as_str()), (4, 4, "b", "c"));
}

#[test]
fn json_of_several_lines_is_one_message_and_a_list_is_its_members() {
    let pretty =
        "{\n  \"MESSAGE\" : \"one { [\",\n  \"PRIORITY\" : \"6\"\n}\n{\n  \"MESSAGE\" : \"two\"\n}\n";
    assert_eq!(read(pretty).1.iter().map(|one| one.text.as_str()).collect::<Vec<_>>(), ["one { [", "two"]);
    let list = "{\n  \"events\": [\n    {\n      \"message\": \"one\"\n    },\n    {\n      \"message\": \"two\"\n    }\n  ]\n}\n";
    let words: Vec<String> = read(list).1.into_iter().map(|one| one.text).collect();
    assert!(words.contains(&"one".to_owned()) && words.contains(&"two".to_owned()), "{words:?}");
}

#[test]
fn a_value_of_several_lines_belongs_to_its_klog_line() {
    let at = |text: &str| format!("Feb 03 04:05:06 n kubelet[812]: {text}\n");
    let log = [
        at("E0203 04:05:06.111222     812 k.go:1] \"Failed to stop sandbox\" err=<"),
        at("\trpc error: code = DeadlineExceeded"),
        at(" > podSandboxID=\"1\""),
        at("I0203 04:05:06.111222     812 k.go:1] \"next\""),
    ];
    let (_, all) = read(&log.concat());
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(
        all[0].text,
        "\"Failed to stop sandbox\" err=< rpc error: code = DeadlineExceeded > podSandboxID=\"1\""
    );
}

#[test]
fn what_a_runtime_has_split_is_joined() {
    let log = "2026-02-03T04:05:06.1Z stderr P E0203 04:05:06.111222 812 k.go:1] a\n2026-02-03T04:05:06.1Z stderr F b\n2026-02-03T04:05:07.1Z stderr F c\n";
    let (_, all) = read(log);
    assert_eq!((all.len(), all[0].text.as_str(), all[1].text.as_str()), (2, "ab", "c"));
}

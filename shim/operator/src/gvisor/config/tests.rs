use super::*;

const LIST: &str = "  -debug\n  -fdlimit int\n  -host-uds value\n  -overlay2 value\n  -platform string\n  -root string\n  \
                    -debug-log string\n  -allow-flag-override\n";

fn mistakes(text: &str) -> Vec<Mistake> {
    let flags = Flags::read(LIST);
    let refusal = |name: &str, value: &str| (value == "bad").then(|| format!("invalid value for {name}"));
    let reader = Reader { flags: Some(&flags), refusal: &refusal, guards: &["kill_deadline", "shim"] };
    reader.read(text)
}

/// One mistake: its line and key, words of it and of its remedy.
fn has(text: &str, fatal: bool, place: (usize, &str), words: &str, remedy: &str) {
    let found = mistakes(text);
    let [one] = found.as_slice() else { panic!("{text:?}: {found:#?}") };
    assert_eq!((one.line, one.key.as_str(), one.fatal), (place.0, place.1, fatal), "{text:?}: {one:#?}");
    assert!(one.what.contains(words) && one.remedy.contains(remedy), "{text:?}: {one:#?}");
}

#[test]
fn nothing_is_said_of_what_is_right() {
    let text = "log_level = \"debug\"\nroot = \"/run/r\"\nbinary_name = \"runsc\"\nio_uid = 1\ngrouping = true\nShim_Cgroup = \"x\"\n\
                [guard]\nanything = 1\n[runsc_config]\ndebug = \"true\"\nfdlimit = \"-1\"\nplatform = \"kvm\"\noverlay2 = \"root:self\"\n";
    assert_eq!(mistakes(text), []);
    assert_eq!(mistakes("not toml ="), [], "said elsewhere");
}

#[test]
fn what_gvisor_does_not_read_is_named() {
    has(
        "debug = true\n",
        false,
        (1, "debug"),
        "no effect",
        "below [runsc_config], in quotes: debug = \"true\"",
    );
    has("\nplatform = \"kvm\"\n", false, (2, "platform"), "no effect", "platform = \"kvm\"");
    has("kill_deadline = \"2s\"\n", false, (1, "kill_deadline"), "no effect", "below [guard]");
    has("host_uds = \"all\"\n", false, (1, "host_uds"), "no effect", "host-uds = \"all\"");
    has("nonsense = 1\n", false, (1, "nonsense"), "no effect", "take it out");
    has(
        "[runsc-config]\ndebug = \"true\"\n",
        false,
        (1, "runsc-config"),
        "no effect",
        "[runsc_config], gVisor's, and [guard]",
    );
}

#[test]
fn what_fails_every_create_is_named() {
    has(
        "[runsc_config]\ndebug = true\n",
        true,
        (2, "[runsc_config] debug"),
        "takes a text",
        "debug = \"true\"",
    );
    has(
        "[runsc_config]\n\nfdlimit = 5\n",
        true,
        (3, "[runsc_config] fdlimit"),
        "takes a text",
        "fdlimit = \"5\"",
    );
    has("io_uid = \"0\"\n", true, (1, "io_uid"), "a whole number", "whole number");
    has("root = 1\n", true, (1, "root"), "a text in quotes", "quotes");
    has("runsc_config = \"x\"\n", true, (1, "runsc_config"), "a table", "a table");
    has("log_level = \"loud\"\n", true, (1, "log_level"), "no level", "debug");
    has(
        "[runsc_config]\nnosuch = \"1\"\n",
        true,
        (2, "[runsc_config] nosuch"),
        "no such flag",
        "runsc flags",
    );
    has(
        "[runsc_config]\nhost_uds = \"all\"\n",
        true,
        (2, "[runsc_config] host_uds"),
        "no such flag",
        "called host-uds",
    );
    has(
        "[runsc_config]\n\"--debug\" = \"true\"\n",
        true,
        (2, "[runsc_config] --debug"),
        "no such flag",
        "called debug",
    );
    has(
        "[runsc_config]\nkill_deadline = \"2s\"\n",
        true,
        (2, "[runsc_config] kill_deadline"),
        "no flag",
        "[guard]",
    );
    has(
        "[runsc_config]\nlog_path = \"/x\"\n",
        true,
        (2, "[runsc_config] log_path"),
        "no flag",
        "top of the file",
    );
    has("[runsc_config]\ndebug = \"yes\"\n", true, (2, "[runsc_config] debug"), "\"yes\"", "\"true\"");
    has("[runsc_config]\nfdlimit = \"many\"\n", true, (2, "[runsc_config] fdlimit"), "many", "whole numbers");
    has(
        "[runsc_config]\noverlay2 = \"bad\"\n",
        true,
        (2, "[runsc_config] overlay2"),
        "invalid value",
        "runsc flags",
    );
    has("[runsc_config]\nplatform = \"gvm\"\n", true, (2, "[runsc_config] platform"), "gvm", "kvm");
    has(
        "[runsc_config]\nplatform = \"kvm \"\n",
        true,
        (2, "[runsc_config] platform"),
        "a blank",
        "platform = \"kvm\"",
    );
    has(
        "[runsc_config]\ndebug = \" true\"\n",
        true,
        (2, "[runsc_config] debug"),
        "a blank",
        "debug = \"true\"",
    );
}

#[test]
fn what_has_a_price_is_named() {
    has("log_path = \"/var/log/%ID%\"\n", false, (1, "log_path"), "never closes it", "take it out");
    has("[runsc_config]\ndebug-log = \"/x \"\n", false, (2, "[runsc_config] debug-log"), "a blank", "\"/x\"");
    let both = "root = \"/run/a\"\n[runsc_config]\nroot = \"/run/b\"\n";
    has(
        both,
        false,
        (3, "[runsc_config] root"),
        "\"/run/b\" wins over root = \"/run/a\" at the top",
        "root = \"/run/b\" at the top",
    );
    has(
        "[runsc_config]\nroot = \"/r\"\n",
        false,
        (2, "[runsc_config] root"),
        "that the shim gives",
        "at the top",
    );
}

#[test]
fn without_runscs_own_list_only_what_is_certain_is_said() {
    let reader = Reader { flags: None, refusal: &|_, _| None, guards: &[] };
    assert_eq!(reader.read("[runsc_config]\nnosuch = \"1\"\n"), []);
    assert_eq!(reader.read("[runsc_config]\ndebug = true\n").len(), 1);
}

//! By which names a line tells of a pod: its uid, `namespace/name`, the ids of its sandbox and containers. Pure.

use std::sync::LazyLock;

use regex::Regex;

/// More ids than this in one line are of several pods.
const MOST_IDS: usize = 3;
/// No name is longer.
const LONGEST: usize = 130;

/// dockerd and crictl leave so much of an id.
pub(super) const SHORT_ID: usize = 12;

/// What identifies a pod, one of its containers, or a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Name {
    /// The pod's uid.
    Uid(String),
    /// The id of its sandbox or of a container.
    Id(String),
    /// `namespace/name`, which the next pod of a StatefulSet has as well.
    Pod(String),
    /// A container's name, by which Docker was asked.
    Docker(String),
    /// `pid (name)`.
    Process(String),
}

impl Name {
    /// As people read it.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Uid(text) | Self::Id(text) | Self::Pod(text) | Self::Docker(text) | Self::Process(text) => {
                text
            }
        }
    }
}

fn regex(pattern: &str) -> Regex {
    // The patterns are constants, and the tests use each.
    Regex::new(pattern).unwrap_or_else(|error| unreachable!("{error}"))
}

static ID: LazyLock<Regex> = LazyLock::new(|| regex("[0-9a-f]{64,}"));
/// `Container 7873876b3310 failed`, `StopPodSandbox for "0c835ddfd2570" failed`, `podSandboxID="0c835ddfd2570"`.
static SHORT: LazyLock<Regex> = LazyLock::new(|| {
    regex(r#"(?i:container|sandbox|task)(?:(?: for)?:? |_?(?i:id)"?[=:] ?)"?([0-9a-f]{12,13})(?:[" ,:]|$)"#)
});
/// Where the ids of layers and volumes stand.
const FOLDERS: [&str; 5] = ["/kubernetes.io/csi/", "/overlay2/", "/overlay/", "/snapshots/", "/aufs/"];
/// The words before a uid that say that it is a pod's: volumes and requests have uids as well.
static UID: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r#"(?i)(?:pod_?uid"?[=:] *"?|\buid"?[=:] *"?| for "|/pods/|[-/" ]pod|\(|pod "|"ID":"|_)"#,
        "([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})"
    ))
});
/// Static pods have a digest instead.
static DIGEST: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?:podUID"?[=:] *"?|Sandbox" for "|/pods/)([0-9a-f]{32})(?:["/ ,]|$)"#));
static POD: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r#"(?:\bpod"?[=:] *"?|pod ")([a-z0-9][-a-z0-9.]*/[a-z0-9][-a-z0-9.]*)(?:"|\]| |,|$)"#,
        r#"|\bpods=\["([a-z0-9][-a-z0-9.]*/[a-z0-9][-a-z0-9.]*)"\]"#
    ))
});
/// kubectl's.
static NAME_AND_SPACE: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"pod "([a-z0-9][-a-z0-9.]*)" in namespace "([a-z0-9][-a-z0-9]*)""#));
/// `pod "web_shop(uid)"`, and `k8s_main_web_shop_uid_0` of CRI-O and Docker.
static OLD_POD: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"([a-z0-9][-a-z0-9.]*)_([a-z0-9][-a-z0-9]*)[(_][0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    )
});
/// As klog's JSON and containerd's metadata have it, in both orders.
static NAME_FIRST: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?i)(?:\{"|[{ ,])name"?: ?"?([a-z0-9][-a-z0-9.]*)"?[ ,]+(?:"?uid"?: ?"?[-0-9a-f]+"?[ ,]+)?"?namespace"?: ?"?([a-z0-9][-a-z0-9]*)"#,
    )
});
static SPACE_FIRST: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?i)"namespace": ?"([a-z0-9][-a-z0-9]*)", ?"name": ?"([a-z0-9][-a-z0-9.]*)""#));
static DOCKER: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?:/containers/|container:? "?|sandbox ")([a-zA-Z0-9][-a-zA-Z0-9_.]*)(?:"|/stop|/kill|/restart|\?|: | returned)"#,
    )
});
/// `task runsc-sandbox:4711 blocked`, `stuck for 22s! [runsc-sandbox:4711]`, and systemd's `4711 (runsc-sandbox)`.
static TASK: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:task |! \[)([^ :]+):([0-9]+)(?: blocked|\])"));
static PROCESS: LazyLock<Regex> = LazyLock::new(|| regex(r"\b([0-9]+) \(([^)]*)\)"));

/// All names in `text`, of one pod; the most telling comes first.
pub(super) fn names(text: &str) -> Vec<Name> {
    let mut all = Vec::new();
    let mut add = |name: Name| {
        if name.text().len() <= LONGEST && !all.contains(&name) {
            all.push(name);
        }
    };
    uids(text).into_iter().for_each(|uid| add(Name::Uid(uid)));
    ids(text).into_iter().for_each(|id| add(Name::Id(id)));
    pod(text).into_iter().for_each(|pod| add(Name::Pod(pod)));
    if all.is_empty() && (text.contains("ontainer") || text.contains("sandbox \"")) {
        DOCKER.captures(text).into_iter().for_each(|found| all.push(Name::Docker(found[1].to_owned())));
    }
    if all.is_empty() {
        process(text).into_iter().for_each(|process| all.push(Name::Process(process)));
    }
    all
}

/// None where they are of several pods.
fn uids(text: &str) -> Option<String> {
    let mut found = UID.captures_iter(text).map(|found| found[1].to_ascii_lowercase().replace('_', "-"));
    match found.next() {
        Some(first) => found.all(|next| next == first).then_some(first),
        None => DIGEST.captures(text).map(|found| found[1].to_owned()),
    }
}

/// Digests of images, the names of sockets and folders of layers and volumes look like ids.
fn ids(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for found in ID.find_iter(text).filter(|found| found.len() == 64) {
        let before = &text[..found.start()];
        let path = before.rsplit([' ', '"', '=', ':']).next().unwrap_or_default();
        let is_other = ["sha256:", "sha256-", "/s/", "digest="].iter().any(|other| before.ends_with(other))
            || FOLDERS.iter().any(|folder| path.contains(folder));
        if !is_other && all.iter().all(|one| one != found.as_str()) {
            all.push(found.as_str().to_owned());
        }
    }
    if all.is_empty() {
        all.extend(SHORT.captures(text).map(|found| found[1].to_owned()));
    }
    if all.len() > MOST_IDS { Vec::new() } else { all }
}

fn pod(text: &str) -> Option<String> {
    let name = |found: regex::Captures<'_>| Some(found.get(1).or_else(|| found.get(2))?.as_str().to_owned());
    let mut found = POD.captures_iter(text).filter_map(name);
    if let Some(first) = found.next() {
        return found.all(|next| next == first).then_some(first);
    }
    let pair = |regex: &Regex| regex.captures(text).map(|found| (found[1].to_owned(), found[2].to_owned()));
    let named = pair(&NAME_FIRST)
        .or_else(|| pair(&OLD_POD))
        .or_else(|| pair(&NAME_AND_SPACE))
        .map(|(name, space)| format!("{space}/{name}"));
    named.or_else(|| pair(&SPACE_FIRST).map(|(space, name)| format!("{space}/{name}")))
}

fn process(text: &str) -> Option<String> {
    if let Some(found) = TASK.captures(text) {
        return Some(format!("{} ({})", &found[2], &found[1]));
    }
    if !text.contains("ocess") {
        return None;
    }
    PROCESS.captures(text).map(|found| found[0].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "1f2e3d4c-aaaa-4bbb-8ccc-0123456789ab";

    fn told(text: &str) -> Vec<String> {
        names(text).iter().map(|name| name.text().to_owned()).collect()
    }

    #[test]
    fn each_form_of_a_name_is_found() {
        let rows = [
            (format!(r#"podSandboxID={{"Type":"containerd","ID":"{ID}"}}"#), vec![ID]),
            (format!(r#"pod="shop/web" podUID="{UID}""#), vec![UID, "shop/web"]),
            (format!(r#"failed to "KillPodSandbox" for "{UID}" with"#), vec![UID]),
            (format!(r#"pod={{"name":"web","namespace":"shop"}} podUID={UID}"#), vec![UID, "shop/web"]),
            (
                format!(
                    "RunPodSandbox for &PodSandboxMetadata{{Name:web,Uid:{UID},Namespace:shop,Attempt:0,}}"
                ),
                vec![UID, "shop/web"],
            ),
            (format!(r#"RunPodSandbox for name:"web" uid:"{UID}" namespace:"shop""#), vec![UID, "shop/web"]),
            (format!("name k8s_POD_web_shop_{UID}_0 is reserved"), vec![UID, "shop/web"]),
            (format!(r#"failed pod "web_shop({UID})""#), vec![UID, "shop/web"]),
            (format!("kubepods-pod{}.slice:cri-containerd:{ID}", UID.replace('-', "_")), vec![UID, ID]),
            (r#"pods=["shop/web"]"#.to_owned(), vec!["shop/web"]),
            ("Container 7873876b3310 failed to exit".to_owned(), vec!["7873876b3310"]),
            (r#"StopPodSandbox for "0c835ddfd2570" failed"#.to_owned(), vec!["0c835ddfd2570"]),
            (r#"failed" podSandboxID="0c835ddfd2570""#.to_owned(), vec!["0c835ddfd2570"]),
            (r#"cannot remove container "web": could"#.to_owned(), vec!["web"]),
            ("INFO: task runsc-sandbox:4711 blocked for more".to_owned(), vec!["4711 (runsc-sandbox)"]),
            ("Waiting for process: 4711 (runsc-sandbox)".to_owned(), vec!["4711 (runsc-sandbox)"]),
        ];
        for (text, expected) in rows {
            assert_eq!(told(&text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_name_is_none() {
        for text in [
            format!("image@sha256:{ID}"),
            format!("dial unix /run/containerd/s/{ID}: connect"),
            format!("volume pvc-{UID} is not attached"),
            format!("/var/lib/kubelet/plugins/kubernetes.io/csi/x/{ID}/globalmount"),
            format!("container /var/lib/docker/overlay2/{ID}/merged: busy"),
            format!("{ID}{ID}"),
            "container feedface-web failed".to_owned(),
            r#"pods=["shop/web","shop/db"]"#.to_owned(),
        ] {
            assert_eq!(told(&text), Vec::<String>::new(), "{text}");
        }
    }
}

//! What can be written into the files of a sandbox, on purpose, so that they name others.

use super::bystanders::Bystanders;
use anyhow::{Context as _, Result, ensure};
use harness::{Host, Random, process::Process};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A forger's tools, for one container.
pub(super) struct Forger<'a> {
    pub(super) host: &'a Host,
    pub(super) bystanders: &'a Bystanders,
    pub(super) id: String,
}

impl Forger<'_> {
    fn bundle(&self, id: &str) -> PathBuf {
        self.host.bundle(self.host.ctr().namespace(), id)
    }

    fn state(&self, container: &str, sandbox: &str) -> PathBuf {
        self.host.runsc_root(self.host.ctr().namespace()).join(format!("{container}_sandbox:{sandbox}.state"))
    }

    fn edit(&self, file: &Path, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut value = read(file)?;
        change(&mut value);
        Ok(std::fs::write(file, serde_json::to_vec(&value)?)?)
    }

    fn edit_record(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        self.edit(&self.bundle(&self.id).join("runsc-guard.json"), change)
    }

    fn edit_state(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        self.edit(&self.state(&self.id, &self.id), change)
    }

    /// Everybody whom a pid can be made to name: the first process of the machine, this one, and the bystanders.
    pub(super) fn victims(&self) -> Vec<Process> {
        let special = [1, std::process::id().cast_signed()].into_iter().filter_map(Process::read);
        special.chain(self.bystanders.processes().into_iter().cloned()).collect()
    }

    /// Removes the files that a forgery has made and that no sandbox has ever had.
    pub(super) fn clear_up(&self) {
        for id in ["neighbour", "bare"] {
            let _ = std::fs::remove_file(self.state(id, &self.id));
        }
    }
}

fn read(file: &Path) -> Result<Value> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| format!("{}: no JSON", file.display()))
}

fn identity(process: &Process) -> Value {
    json!({"pid": process.pid, "start_time": process.started})
}

/// The same of a pid that was somebody else's when it was written. Pid *and* start time of sentry and gofers are root's
/// word, in a file that only root can write: there is nothing to set against it (rule 1).
fn reused(process: &Process) -> Value {
    json!({"pid": process.pid, "start_time": process.started.saturating_sub(1)})
}

/// What is done to the files of one container.
type How<'a> = dyn Fn(&Forger<'_>) -> Result<()> + Send + Sync + 'a;

/// One way to forge.
pub(super) struct Forgery<'a> {
    pub(super) name: String,
    pub(super) how: Box<How<'a>>,
    /// What it leaves is nothing, for it hides nothing of the container's own.
    pub(super) leaves_nothing: bool,
}

impl<'a> Forgery<'a> {
    fn new(name: impl Into<String>, how: impl Fn(&Forger<'_>) -> Result<()> + Send + Sync + 'a) -> Self {
        Self { name: name.into(), how: Box::new(how), leaves_nothing: true }
    }
}

/// Those that every run has.
pub(super) fn forgeries<'a>(victims: &'a [Process], pool: &'a Pool) -> Vec<Forgery<'a>> {
    let mut all: Vec<Forgery<'_>> = victims.iter().map(named_everywhere).collect();
    all.push(Forgery::new("another's container and bundle as members", |forger: &Forger<'_>| {
        let member =
            |id: &str, bundle: PathBuf| json!({"id": id, "bundle": bundle, "pid": 0, "released": false});
        forger.edit_record(|record| {
            record["members"] = json!([
                member(&forger.id, forger.bundle("neighbour")),
                member("neighbour", forger.bundle("neighbour")),
                member("bare", forger.bundle("bare")),
                member("../neighbour", forger.bundle("neighbour")),
                member("x", "/".into()),
            ]);
        })
    }));
    all.push(Forgery::new("another's record, whole", |forger: &Forger<'_>| {
        forger.edit_record(|record| record.clone_from(&pool.record))
    }));
    all.push(Forgery::new("another's folder, socket and runsc root", |forger: &Forger<'_>| {
        forger.edit_record(|record| {
            for field in ["folder", "socket"] {
                record[field] = pool.record[field].clone();
            }
            record["runsc_root"] = json!(forger.host.runsc_root("k8s.io"));
        })
    }));
    all.push(Forgery::new("another's cgroup and bundle in runsc's state", |forger: &Forger<'_>| {
        let others = &pool.state;
        forger.edit_state(|state| {
            state["bundleDir"] = others["bundleDir"].clone();
            state["spec"] = others["spec"].clone();
            state["sandbox"]["cgroup"] = others["sandbox"]["cgroup"].clone();
            state["compatCgroup"] = others["sandbox"]["cgroup"].clone();
            state["sandbox"]["controlSocketPath"] = others["sandbox"]["controlSocketPath"].clone();
        })
    }));
    all.push(Forgery::new("another's containers as members in runsc's state", |forger: &Forger<'_>| {
        for id in ["neighbour", "bare"] {
            let mut state = read(&forger.state(id, id))?;
            state["sandbox"]["id"] = forger.id.as_str().into();
            std::fs::write(forger.state(id, &forger.id), serde_json::to_vec(&state)?)?;
        }
        Ok(())
    }));
    for name in ["/", "", "..", "/..", "../..", "/../", "."] {
        all.push(root_cgroup(name, &["sandbox", "cgroup"]));
        all.push(root_cgroup(name, &["compatCgroup"]));
    }
    all
}

/// A pid that stands wherever one can.
fn named_everywhere(victim: &Process) -> Forgery<'_> {
    let name = format!("pid {} ({}) as guard, real shim and sentry", victim.pid, victim.comm);
    Forgery::new(name, move |forger: &Forger<'_>| {
        forger.edit_record(|record| {
            for field in ["guard", "real_shim"] {
                record[field] = identity(victim);
            }
            record["sentry"] = reused(victim);
            record["gofers"] = json!([reused(victim)]);
            record["members"][0]["pid"] = victim.pid.into();
        })?;
        forger.edit_state(|state| {
            state["sandbox"]["pid"] = victim.pid.into();
            state["goferPid"] = victim.pid.into();
        })
    })
}

/// A cgroup that is the root of them all, or tries to be.
fn root_cgroup<'a>(name: &'a str, field: &'a [&'a str]) -> Forgery<'a> {
    Forgery::new(format!("cgroup {name:?} as {}", field.join(".")), move |forger: &Forger<'_>| {
        forger.edit_state(|state| {
            let own = json!({"memory": true, "freezer": true, "cpu": true, "pids": true});
            let mut place = state;
            for key in field {
                place = &mut place[*key];
            }
            *place = json!({"cgroupv1": {"name": name, "own": own}});
        })
    })
}

/// What a field can be made to say: words of strangers, and the same field of somebody else.
pub(super) struct Pool {
    /// The neighbour's record, and runsc's state of it.
    record: Value,
    state: Value,
    victims: Vec<Process>,
    /// Something precious, outside of every sandbox.
    treasure: PathBuf,
}

impl Pool {
    /// `forger` is the neighbour's.
    pub(super) fn of(forger: &Forger<'_>, victims: &[Process]) -> Result<Self> {
        let treasure = forger.host.path().join("treasure");
        for folder in ["rootfs", "inner"] {
            std::fs::create_dir_all(treasure.join(folder))?;
            std::fs::write(treasure.join(folder).join("file"), "precious")?;
        }
        Ok(Self {
            record: read(&forger.bundle(&forger.id).join("runsc-guard.json"))?,
            state: read(&forger.state(&forger.id, &forger.id))?,
            victims: victims.to_vec(),
            treasure,
        })
    }

    /// Nothing of what is precious has gone.
    pub(super) fn assert_untouched(&self) -> Result<()> {
        for folder in ["rootfs", "inner"] {
            let file = self.treasure.join(folder).join("file");
            ensure!(
                std::fs::read(&file).is_ok_and(|text| text == b"precious"),
                "{} has gone",
                file.display()
            );
        }
        Ok(())
    }

    /// So many, each of one field of the record and one of runsc's state, whatever those are.
    pub(super) fn random<'a>(&'a self, random: &mut Random, count: usize) -> Vec<Forgery<'a>> {
        let (of_record, of_state) = (leaves(&self.record), leaves(&self.state));
        let one = |_| {
            let record = self.field(random, &of_record, &self.record);
            let state = self.field(random, &of_state, &self.state);
            let name = format!("record {} = {}, state {} = {}", record.0, record.1, state.0, state.1);
            let how = move |forger: &Forger<'_>| {
                forger.edit_record(|whole| put(whole, &record.0, &record.1))?;
                forger.edit_state(|whole| put(whole, &state.0, &state.1))
            };
            Forgery { leaves_nothing: false, ..Forgery::new(name, how) }
        };
        (0..count).map(one).collect()
    }

    /// A field, and what to write there.
    fn field(&self, random: &mut Random, fields: &[String], whole: &Value) -> (String, Value) {
        let field = random.choose(fields).cloned().unwrap_or_default();
        let neighbours = whole.pointer(&field).cloned().unwrap_or_default();
        let is_proof = field == "/sentry" || field.starts_with("/gofers");
        let mut values = vec![Value::Null, json!([])];
        if !(is_proof && neighbours.is_object()) {
            values.push(neighbours.clone());
        }
        match neighbours {
            Value::Number(_) => {
                values.extend([0, 1, 2, -1].map(Value::from));
                values.extend([json!(u64::MAX), json!("1")]);
                values.extend(self.victims.iter().flat_map(|one| [one.pid.into(), one.started.into()]));
            }
            Value::Bool(value) => values.push((!value).into()),
            Value::Object(_) => {
                values.extend(self.victims.iter().map(if is_proof { reused } else { identity }));
            }
            _ => {
                values.extend(["", "..", "../neighbour", "neighbour", "bare", "a\u{0}b"].map(Value::from));
                values.push(json!(self.treasure));
                values.push(json!(self.treasure.join("inner/../rootfs")));
            }
        }
        let value = random.choose(&values).cloned().unwrap_or_default();
        (field, value)
    }
}

fn put(whole: &mut Value, field: &str, value: &Value) {
    if let Some(place) = whole.pointer_mut(field) {
        place.clone_from(value);
    }
}

/// Every field that is a value or an identity, by its JSON pointer. The spec's own have a chance of one among the others.
fn leaves(whole: &Value) -> Vec<String> {
    fn collect(value: &Value, at: &str, found: &mut Vec<String>) {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(fields) if fields.contains_key("start_time") => {
                found.push(at.to_owned());
                fields.iter().map(|(key, child)| (key.clone(), child)).collect()
            }
            Value::Object(fields) => fields.iter().map(|(key, child)| (key.clone(), child)).collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, child)| (at.to_string(), child)).collect()
            }
            _ => {
                found.push(at.to_owned());
                return;
            }
        };
        for (key, child) in children {
            collect(child, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }
    }
    let mut found = Vec::new();
    collect(whole, "", &mut found);
    let is_specs = |field: &String| field.starts_with("/spec/") && !field.ends_with("cgroupsPath");
    let tenth = found.iter().filter(|field| is_specs(field)).step_by(10).cloned().collect::<Vec<_>>();
    found.retain(|field| !is_specs(field));
    found.extend(tenth);
    found
}

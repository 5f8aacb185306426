//! For tests: whether what a command prints as JSON is what hack/docs/output.schema.json says. A key that is added, or
//! taken away, and not written down there fails the test of its command.

use std::sync::LazyLock;

use serde::Serialize;
use serde_json::Value;

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../hack/docs/output.schema.json")).unwrap());

/// Fails where `output` is not what the definition `name` says.
pub(crate) fn assert_valid(name: &str, output: &impl Serialize) {
    let output = serde_json::to_value(output).unwrap();
    if let Err(error) = check(&SCHEMA["$defs"][name], &output, name) {
        panic!("{error}\nin {output:#}");
    }
}

/// The keywords that the schema uses, and no others: one that is not known here fails.
fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if schema == &Value::Bool(false) {
        return Err(format!("{at}: there should be nothing"));
    }
    let rules = schema.as_object().ok_or_else(|| format!("{at}: no schema"))?;
    for (rule, told) in rules {
        match rule.as_str() {
            "description" | "properties" | "items" | "prefixItems" => {}
            "$ref" => {
                let name =
                    told.as_str().and_then(|path| path.strip_prefix("#/$defs/")).ok_or("no such path")?;
                check(&SCHEMA["$defs"][name], value, at)?;
            }
            "type" => is_of(told.as_str().unwrap_or_default(), value, at)?,
            "enum" => {
                let is_one = told.as_array().is_some_and(|all| all.contains(value));
                is_one.then_some(()).ok_or_else(|| format!("{at}: {value} is none of {told}"))?;
            }
            "anyOf" => {
                let all = told.as_array().into_iter().flatten();
                let errors: Vec<String> =
                    all.map(|one| check(one, value, at)).filter_map(Result::err).collect();
                let is_any = errors.len() < told.as_array().map_or(0, Vec::len);
                is_any.then_some(()).ok_or_else(|| errors.join(" | "))?;
            }
            "required" => {
                let mut keys = told.as_array().into_iter().flatten().filter_map(Value::as_str);
                let missing = keys.find(|key| value.get(key).is_none());
                missing.map_or(Ok(()), |key| Err(format!("{at}: {key} is missing")))?;
            }
            "additionalProperties" => {}
            other => return Err(format!("{at}: the keyword {other} is not known")),
        }
    }
    members(schema, value, at)
}

fn members(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let (properties, others) = (&schema["properties"], &schema["additionalProperties"]);
    for (key, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        match properties.get(key) {
            Some(property) => check(property, member, &at)?,
            None if others.is_null() => {}
            None => check(others, member, &at)?,
        }
    }
    let first = schema["prefixItems"].as_array().map_or(&[][..], Vec::as_slice);
    for (index, member) in value.as_array().into_iter().flatten().enumerate() {
        let at = format!("{at}[{index}]");
        match (first.get(index), &schema["items"]) {
            (Some(item), _) => check(item, member, &at)?,
            (None, Value::Null) => {}
            (None, item) => check(item, member, &at)?,
        }
    }
    Ok(())
}

fn is_of(kind: &str, value: &Value, at: &str) -> Result<(), String> {
    let is_it = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => return Err(format!("{at}: the type {kind} is not known")),
    };
    is_it.then_some(()).ok_or_else(|| format!("{at}: {value} is no {kind}"))
}

#[test]
fn what_differs_is_found() {
    let pod = |value: Value| check(&SCHEMA["$defs"]["pod"], &value, "pod");
    let whole = serde_json::json!({"name": "a", "namespace": "b", "uid": "c"});
    assert_eq!(pod(whole.clone()), Ok(()));
    let mut more = whole.clone();
    more["more"] = 1.into();
    assert_eq!(pod(more), Err("pod.more: there should be nothing".to_owned()));
    assert!(pod(serde_json::json!({"name": "a", "uid": "c"})).unwrap_err().contains("namespace is missing"));
    assert!(
        pod(serde_json::json!({"name": 1, "namespace": "b", "uid": "c"})).unwrap_err().contains("no string")
    );
}

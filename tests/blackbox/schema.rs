//! The committed description of the protocol, and whether what was said is what it describes.
//! It knows the words of JSON Schema that the description uses, and refuses those that it does not.

use serde_json::{Map, Value};
use std::sync::LazyLock;

/// The description.
pub struct Document(pub Value);

static COMMITTED: LazyLock<Document> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol/openrpc.json");
    Document(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
});

/// The description as it is committed.
pub fn committed() -> &'static Document {
    &COMMITTED
}

impl Document {
    pub fn methods(&self) -> impl Iterator<Item = &Value> {
        self.0["methods"].as_array().into_iter().flatten()
    }

    fn method(&self, name: &str) -> Option<&Value> {
        self.methods().find(|method| method["name"] == name)
    }

    /// Panics if a result is not what the call gives.
    #[track_caller]
    pub fn result(&self, method: &str, result: &Value) {
        let Some(described) = self.method(method) else { panic!("{method} is not described") };
        self.holds(result, &described["result"]["schema"])
            .unwrap_or_else(|why| panic!("the result of {method}: {why}"));
    }

    /// Panics if these are not parameters of the call.
    #[track_caller]
    pub fn params(&self, method: &str, params: &Map<String, Value>) {
        let described = self.method(method).unwrap_or_else(|| panic!("{method} is not described"))["params"].as_array();
        let described: Vec<&Value> = described.into_iter().flatten().collect();
        for param in &described {
            let name = param["name"].as_str().unwrap();
            match params.get(name) {
                None => assert!(param["required"] == false, "{method} needs '{name}'"),
                Some(value) => {
                    let held = self.holds(value, &param["schema"]);
                    held.unwrap_or_else(|why| panic!("'{name}' of {method}: {why}"));
                }
            }
        }
        let unknown = params.keys().find(|name| !described.iter().any(|param| param["name"] == **name));
        assert_eq!(unknown, None, "{method} has no such parameter");
    }

    /// Panics if the call never gives such an error; calls that there are none of give only one.
    #[track_caller]
    pub fn error(&self, method: &str, error: &Value) {
        let code = error["data"]["code"].as_str().unwrap();
        let described = &self.0["components"]["errors"][code];
        assert_eq!(described["code"], error["code"], "{error}");
        match self.method(method) {
            Some(of) => {
                let reference = format!("#/components/errors/{code}");
                let has = of["errors"].as_array().unwrap().iter().any(|error| error["$ref"] == *reference);
                assert!(has, "{method} says {code}, which is not described: {error}");
            }
            None => assert!(["METHOD_NOT_FOUND", "RESOURCE_EXHAUSTED", "PERMISSION_DENIED"].contains(&code), "{error}"),
        }
    }

    /// Panics if a notification is not described.
    #[track_caller]
    pub fn notification(&self, name: &str, params: &Value) {
        let all = self.methods().filter_map(|method| method["x-notifications"].as_array()).flatten();
        let described = all.into_iter().find(|one| one["name"] == name);
        let schema = &described.unwrap_or_else(|| panic!("{name} is not described"))["params"];
        self.holds(params, schema).unwrap_or_else(|why| panic!("{name}: {why}"));
    }

    /// Whether a value is as a schema says; else what of it is not, and where.
    pub fn holds(&self, value: &Value, schema: &Value) -> Result<(), String> {
        let words = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(words) => words,
            other => return Err(format!("{other} is no schema")),
        };
        words.iter().try_for_each(|(word, meant)| self.word(value, word, meant, words))
    }

    fn word(&self, value: &Value, word: &str, meant: &Value, schema: &Map<String, Value>) -> Result<(), String> {
        let each = || meant.as_array().into_iter().flatten();
        let no = |why: &str| {
            let shown: String = value.to_string().chars().take(200).collect();
            Err(format!("{shown} {why} {meant}"))
        };
        let number = || value.as_f64().zip(meant.as_f64());
        match word {
            "description" | "title" | "default" | "format" => Ok(()),
            "$ref" => {
                let pointer = meant.as_str().unwrap().trim_start_matches('#');
                let schema = self.0.pointer(pointer).ok_or_else(|| format!("there is no {meant}"))?;
                self.holds(value, schema)
            }
            "type" if !is_of_type(value, meant) => no("is not of the type"),
            "enum" if !each().any(|one| one == value) => no("is none of"),
            "const" if meant != value => no("is not"),
            "minimum" if number().is_some_and(|(is, least)| is < least) => no("is less than"),
            "maximum" if number().is_some_and(|(is, most)| is > most) => no("is more than"),
            "minItems" if value.as_array().is_some_and(|a| (a.len() as u64) < meant.as_u64().unwrap()) => {
                no("has fewer than")
            }
            "maxItems" if value.as_array().is_some_and(|a| a.len() as u64 > meant.as_u64().unwrap()) => {
                no("has more than")
            }
            "pattern" => match value.as_str() {
                Some(text) if !regex_lite::Regex::new(meant.as_str().unwrap()).unwrap().is_match(text) => {
                    no("is not like")
                }
                _ => Ok(()),
            },
            "type" | "enum" | "const" | "minimum" | "maximum" | "minItems" | "maxItems" => Ok(()),
            "required" => match each().find(|name| value.get(name.as_str().unwrap()).is_none()) {
                Some(name) if value.is_object() => no(&format!("lacks {name} of")),
                _ => Ok(()),
            },
            "properties" => members(value).try_for_each(|(name, value)| {
                let held = meant.get(name).map_or(Ok(()), |schema| self.holds(value, schema));
                held.map_err(|why| format!("{name}: {why}"))
            }),
            "additionalProperties" => members(value).try_for_each(|(name, value)| {
                if schema.get("properties").is_some_and(|known| known.get(name).is_some()) {
                    return Ok(());
                }
                match meant {
                    Value::Bool(false) => Err(format!("'{name}' is not described")),
                    schema => self.holds(value, schema).map_err(|why| format!("{name}: {why}")),
                }
            }),
            "propertyNames" => members(value).try_for_each(|(name, _)| self.holds(&name.as_str().into(), meant)),
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.into_iter().try_for_each(|(place, item)| {
                    let schema = if meant.is_array() { meant.get(place).unwrap_or(&Value::Bool(true)) } else { meant };
                    self.holds(item, schema).map_err(|why| format!("[{place}]: {why}"))
                })
            }
            "allOf" => each().try_for_each(|schema| self.holds(value, schema)),
            "anyOf" | "oneOf" => {
                let held: Vec<Result<(), String>> = each().map(|schema| self.holds(value, schema)).collect();
                match held.iter().filter(|held| held.is_ok()).count() {
                    0 => Err(held.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; nor ")),
                    2.. if word == "oneOf" => no("is more than one of"),
                    _ => Ok(()),
                }
            }
            other => panic!("the description says '{other}', which is not understood here"),
        }
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn is_of_type(value: &Value, meant: &Value) -> bool {
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("'{other}' is no type"),
    };
    match meant {
        Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        kind => is(kind.as_str().unwrap()),
    }
}

//! The protocol as an OpenRPC document: every call with its schemas, its errors, and an example that was really made.
//! It refuses to know a daemon: who makes the document sends the examples and puts the replies in.

mod calls;

pub use calls::{CALLS, Call};

use crate::access::Access;
use crate::error::Code;
use crate::event::EventView;
use crate::job::{JobSpec, Variant};
use crate::log::{LOG, LOG_END, LogEnd, LogPiece};
use crate::method::{EVENT, EVENT_END, Empty};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The version of OpenRPC, <https://spec.open-rpc.org>.
const OPENRPC: &str = "1.3.2";

/// What any call may give, whatever it is.
pub const ANY_CALL: [Code; 10] = [
    Code::ParseError,
    Code::InvalidRequest,
    Code::MethodNotFound,
    Code::InvalidArgument,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FrameTooLarge,
    Code::NoDaemon,
    Code::Unavailable,
    Code::Internal,
];

/// What a daemon said to the example of a call.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The result.
    pub result: Value,
    /// The notifications that followed, method and parameters.
    pub notifications: Vec<Value>,
}

/// Puts the document together.
pub struct Describer {
    read: SchemaGenerator,
    written: SchemaGenerator,
    methods: Vec<Value>,
    event: Value,
    heard: BTreeMap<String, Heard>,
}

/// The document, with what was heard to the example of each call. `Event` is what the core writes down.
///
/// # Panics
/// A call has no example, no description, or one of its fields has none; names it.
#[must_use]
pub fn document<Event: JsonSchema>(heard: BTreeMap<String, Heard>) -> Value {
    let settings = || {
        let mut settings = SchemaSettings::draft07();
        settings.definitions_path = "/components/schemas".into();
        settings
    };
    let mut describe = Describer {
        read: settings().for_deserialize().into_generator(),
        written: settings().for_serialize().into_generator(),
        methods: Vec::new(),
        event: Value::Null,
        heard,
    };
    describe.event =
        json!({"allOf": [schema_of::<EventView>(&mut describe.written), schema_of::<Event>(&mut describe.written)]});
    crate::method::describe_all(&mut describe);
    describe.finish()
}

impl Describer {
    /// Adds a call.
    pub(crate) fn method<P: JsonSchema, R: JsonSchema>(&mut self, name: &str, access: Access, doc: &[&str]) {
        let call = CALLS.iter().find(|call| call.method == name);
        let call = call.unwrap_or_else(|| panic!("{name} has no entry in protocol/src/describe/calls.rs"));
        let heard = self.heard.remove(name).unwrap_or_else(|| panic!("the example of {name} was not sent"));
        let description = plain(&doc.concat());
        assert!(!description.is_empty(), "{name} has no description");
        let params = self.params::<P>(name);
        let result = schema_of::<R>(&mut self.written);
        let notifications = self.notifications(name);
        let errors = ANY_CALL.iter().chain(call.errors);
        let errors: Vec<Value> = errors.map(|c| json!({"$ref": format!("#/components/errors/{}", word(*c))})).collect();
        let sent: Map<String, Value> =
            serde_json::from_str(call.params).unwrap_or_else(|e| panic!("the example of {name}: {e}"));
        let sent: Vec<Value> = sent.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let mut example = json!({
            "name": name,
            "params": sent,
            "result": {"name": "result", "value": heard.result},
        });
        if !heard.notifications.is_empty() {
            example["x-notifications"] = heard.notifications.into();
        }
        let mut method = json!({
            "name": name,
            "description": description,
            "paramStructure": "by-name",
            "params": params,
            "result": {"name": "result", "schema": result},
            "errors": errors,
            "examples": [example],
            "x-access": access,
        });
        if !notifications.is_empty() {
            method["x-notifications"] = notifications.into();
        }
        self.methods.push(method);
    }

    /// The members of the parameters, those that must be given first.
    fn params<P: JsonSchema>(&mut self, method: &str) -> Vec<Value> {
        let schema = P::json_schema(&mut self.read).to_value();
        let required = |name: &String| schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
        let members = schema["properties"].as_object().cloned().unwrap_or_default();
        let mut members: Vec<(bool, String, Value)> =
            members.into_iter().map(|(name, schema)| (required(&name), name, schema)).collect();
        members.sort_by_key(|(required, name, _)| (!required, name.clone()));
        let described = |(required, name, mut schema): (bool, String, Value)| {
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let description = description.and_then(|text| text.as_str().map(plain));
            let description = description.unwrap_or_else(|| panic!("'{name}' of {method} has no description"));
            json!({"name": name, "description": description, "required": required, "schema": tidy(schema)})
        };
        members.into_iter().map(described).collect()
    }

    /// What a subscription sends afterwards. The one list of notifications.
    fn notifications(&mut self, method: &str) -> Vec<Value> {
        let to = &mut self.written;
        let all = match method {
            "event.subscribe" => vec![
                (EVENT, "The next event: its number, its time, and the fields of its kind.", self.event.clone()),
                (EVENT_END, "There are no more, and none will follow.", schema_of::<Empty>(to)),
            ],
            "log.subscribe" => vec![
                (LOG, "The next piece of the stream.", schema_of::<LogPiece>(to)),
                (LOG_END, "There is no more, and none will follow.", schema_of::<LogEnd>(to)),
            ],
            _ => Vec::new(),
        };
        let shown = |(name, what, schema)| json!({"name": name, "description": what, "params": schema});
        all.into_iter().map(shown).collect()
    }

    fn finish(mut self) -> Value {
        let codes = schema_of::<Code>(&mut self.written);
        let mut schemas: Map<String, Value> = self.written.take_definitions(true).into_iter().collect();
        for (name, schema) in self.read.take_definitions(true) {
            let other = schemas.insert(name.clone(), schema.clone());
            // A job is read in more ways than it is written, and those are among them.
            let same = ["JobSpec", "Variant"].contains(&&*name) || other.is_none_or(|other| other == schema);
            assert!(same, "{name} is not read as it is written: make it two types");
        }
        for (name, written) in [("JobSpec", written::<JobSpec>()), ("Variant", written::<Variant>())] {
            if let Some(read) = schemas.get_mut(name) {
                describe_like(read, &written);
            }
        }
        let meanings = schemas.remove("Code").unwrap_or(codes);
        let mut document = json!({
            "openrpc": OPENRPC,
            "info": {
                "title": "qrm",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "The job queue of one shared machine: JSON-RPC 2.0 over a Unix socket, a line for each frame. \
                                qrm-protocol(7) says how to connect.",
                "x-protocol": crate::PROTOCOL_VERSION,
            },
            "methods": self.methods,
            "components": {"schemas": schemas, "errors": errors(&meanings)},
        });
        document["components"]["schemas"] = tidy(document["components"]["schemas"].take());
        for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
            all_described(name, schema);
        }
        document
    }
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// Fields as they are documented.
fn written<T: JsonSchema>() -> Value {
    T::json_schema(&mut SchemaSettings::draft07().for_serialize().into_generator()).to_value()
}

/// Gives the fields of one schema the descriptions that fields of the same name have in another.
fn describe_like(schema: &mut Value, other: &Value) {
    for (name, field) in schema["properties"].as_object_mut().into_iter().flatten() {
        let described = &other["properties"][name]["description"];
        if let (Some(text), Some(field)) = (described.as_str(), field.as_object_mut())
            && !field.contains_key("description")
        {
            field.insert("description".to_owned(), text.into());
        }
    }
}

fn all_described(name: &str, schema: &Value) {
    schema["oneOf"].as_array().into_iter().flatten().for_each(|one| all_described(name, one));
    for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
        if schema["const"].is_string() {
            continue;
        }
        assert!(schema["description"].is_string(), "'{field}' of {name} has no description");
    }
}

/// The errors by their words, with the numbers that JSON-RPC wants.
fn errors(meanings: &Value) -> Map<String, Value> {
    let meaning = |code: Code| {
        let all = meanings["oneOf"].as_array().into_iter().flatten();
        let of = all.clone().find(|one| one["const"] == json!(code) || one["enum"][0] == json!(code));
        let text = of.and_then(|one| one["description"].as_str()).map(plain);
        text.unwrap_or_else(|| panic!("{code:?} has no description"))
    };
    let shown = |code: Code| {
        let text = word(code);
        let hint = "what would work, or null";
        let data = json!({"code": text, "hint": hint});
        (text, json!({"code": code.number(), "message": meaning(code), "data": data}))
    };
    Code::ALL.into_iter().map(shown).collect()
}

fn word(code: Code) -> String {
    json!(code).as_str().unwrap_or_default().to_owned()
}

/// Text as people read it, without the links and marks of the code's own documentation.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    // What is after the first paragraph is about the code.
    let mut rest = text.trim().split("\n\n").next().unwrap_or_default();
    while let Some(start) = rest.find("[`") {
        let (before, link) = rest.split_at(start);
        let (name, after) = link[2..].split_once("`]").unwrap_or((&link[2..], ""));
        plain += before;
        plain += name.rsplit("::").next().unwrap_or(name);
        rest = after;
    }
    plain += rest;
    let plain = plain.replace("`None`", "null");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Descriptions made plain, and left out where they only name the call.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let keep = |(key, value): (String, Value)| match (key.as_str(), &value) {
                ("description", Value::String(text)) if text.starts_with("See [") && !text.contains("]. ") => None,
                ("description", Value::String(text)) => Some((key, plain(text).into())),
                _ => Some((key, tidy(value))),
            };
            Value::Object(map.into_iter().filter_map(keep).collect())
        }
        Value::Array(all) => all.into_iter().map(tidy).collect(),
        other => other,
    }
}

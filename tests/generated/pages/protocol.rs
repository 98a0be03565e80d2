//! qrm-protocol(7): how to connect and what is spoken in prose; the calls, values and errors from the description.

use crate::roff::Page;
use qrm_protocol::describe::ANY_CALL;
use qrm_protocol::frame::{BULK_FRAME, MAX_FRAME, MAX_ID};
use qrm_protocol::method::MAX_WAIT;
use serde_json::{Map, Value, json};

pub fn page(document: &Value) -> String {
    let mut page = Page::new("qrm-protocol", 7, "what programs and qrmd say to each other");
    page.section("SYNOPSIS");
    page.example("nc -U ~/.local/state/qrm/qrm.sock\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}");
    connecting(&mut page);
    errors(&mut page, document);
    subscriptions(&mut page);
    descriptors(&mut page);
    events(&mut page, document);
    page.section("CALLS");
    page.text("The examples show a call as it is sent, and the `result` of its reply; then what is sent afterwards.");
    for method in array(&document["methods"]) {
        call(&mut page, document, method);
    }
    page.section("VALUES");
    page.text("Keys and words are stable; more may be added, and a client passes over what it does not know.");
    values(&mut page, document);
    page.see_also(&["qrm(1)", "qrmd(8)", "qrm-config(5)", "qrm-exit-codes(7)"]);
    page.done()
}

fn connecting(page: &mut Page) {
    page.section("DESCRIPTION");
    page.text(
        "`qrmd` listens on a Unix stream socket, `qrm.sock` in the state directory: `$XDG_STATE_HOME/qrm`, else \
         `~/.local/state/qrm`, or what `QRM_STATE_DIR` names. `qrm daemon start` starts it if it does not run, and `qrm \
         --json daemon status` names the socket. A job finds it in `QRM_SOCKET`.",
    );
    page.text(
        "What is spoken is JSON-RPC 2.0, a line for each message, which ends with a newline and holds none. Calls on one \
         connection are answered in their order, and may be sent before the answers to earlier ones have come. Who the \
         caller is, the kernel says: the daemon serves the user who started it, and root.",
    );
    page.text("`rpc.discover` gives all of this page that a program can use, as an OpenRPC document.");
    page.part("Requests");
    let request = format!(
        "An object with `jsonrpc`, which is \"2.0\", `id`, a number or a string of at most {MAX_ID} bytes, which comes back with \
         the answer as it was sent, `method`, and `params`, an object; it may be absent where nothing must be given. Members \
         and parameters that are not known are refused, so that nothing that was meant is passed over."
    );
    page.text(&request);
    page.text(
        "Not offered, and refused with `INVALID_REQUEST`: calls in a list (batches), calls without an id (notifications), \
         and parameters by their position.",
    );
    page.part("Replies");
    page.text(
        "An object with `jsonrpc`, the `id`, and either `result` or `error`. Of an error, `data.code` is for programs, \
         `message` says what happened, and `data.hint`, if it is not null, what would work. An error whose `id` is null is \
         about something that was no call.",
    );
    page.part("Bounds");
    let bounds = format!(
        "A line is at most {MAX_FRAME} bytes long; what is longer, or is not UTF-8, is refused, and the connection is closed. \
         A slice of a bulk should stay below {BULK_FRAME} bytes. One call waits for at most {MAX_WAIT} jobs. There are at most \
         1024 connections. Who leaves what it asked for unread for 30 seconds is disconnected."
    );
    page.text(&bounds);
    page.part("The handshake");
    page.text(
        "A program that wants to be sure calls `hello` first, with the version of the protocol that it was written for. A \
         daemon that speaks another one answers with `VERSION_MISMATCH` and closes the connection. Without it the daemon's \
         version is spoken.",
    );
    page.part("When the daemon goes away");
    page.text(
        "What was acknowledged is kept. A connection that ends before the answer says nothing of what was done: a submit \
         whose job has a `key` can be made again, for the same key from the same user is the same job; all other calls can be \
         made again, too, for what is so already is left as it is.",
    );
}

fn errors(page: &mut Page, document: &Value) {
    page.section("ERRORS");
    let any: Vec<String> = ANY_CALL.iter().map(|code| format!("`{}`", json!(code).as_str().unwrap())).collect();
    page.text(&format!("Any call may give {}. Others stand with the calls that give them.", any.join(", ")));
    for (word, error) in object(&document["components"]["errors"]) {
        page.item(word, &error["code"].to_string(), error["message"].as_str().unwrap());
    }
}

fn subscriptions(page: &mut Page) {
    page.section("SUBSCRIPTIONS");
    page.text(
        "`event.subscribe` and `log.subscribe` are answered like other calls; then come messages with `method` and `params` \
         and without an `id`. Without `follow` they end by themselves, with `event.end` or `log.end`, and the connection can \
         be used for other calls. With `follow` they go on: those of a log to the end of its job, those of events for ever. \
         Whatever a follower says meanwhile ends the connection, so a program that follows several things has a connection \
         for each. Who reads slowly is sent the next when the last was taken, and holds up nobody else. What can go no further is \
         ended by an error whose `id` is null, which says why, and the connection is closed.",
    );
    page.text(
        "Events are numbered without a gap. To go on after a connection was lost, subscribe `after` the last number that was \
         seen; `lagged` of the answer says how many were forgotten meanwhile. A reader who is so slow that events are forgotten \
         before their turn is disconnected, so that it asks again. A log goes on in the same way, `after_bytes` \
         that were seen.",
    );
    page.text(
        "The output of a job is also in files, for programs on the same machine: `stdout` and `stderr` in the job's `dir`, \
         appended to by all of its attempts. They come with its start, are removed with its end if they are empty, and with \
         `job.cleanup`. inotify(7) tells of what is written to them, and `job.wait` of the end, after which nothing is.",
    );
}

fn descriptors(page: &mut Page) {
    page.section("DESCRIPTORS");
    page.text(
        "The replies to `job.attach` and `job.exec` come with a descriptor, by SCM_RIGHTS of unix(7): read them with \
         recvmsg(2), after what came before was read. It is a socket that keeps the bounds of messages (SOCK_SEQPACKET) and \
         leads to the job without the daemon, which may be stopped meanwhile. The first byte of a message says what it is, and at \
         most 4096 follow. Numbers have the highest byte first. Who says anything else is let go.",
    );
    for (what, to, means) in [
        ("i", "to the job", "Bytes that are typed."),
        (
            "w",
            "to the job",
            "The size of the terminal that it is seen on: rows and columns, two bytes each. The first of a visit has all drawn anew.",
        ),
        (
            "b",
            "to a command",
            "First, and with the three descriptors that are to be its streams: begin. Not with `pty`.",
        ),
        ("s", "to a command", "A signal, a byte."),
        (
            "o",
            "from the job",
            "Bytes that were written. A visit begins with the last that was, up to 64 KiB. Who falls behind by more misses the rest: a job waits for nobody, but a command of `job.exec` does.",
        ),
        ("f", "from the job", "Eight look on already, as many as may. The socket is closed."),
        (
            "e",
            "from a command",
            "Last: its exit code, or 128 + its signal; which step towards it failed, 12 for executing it; the error's number, errno(3). Four bytes each; the last two are 0 if it ran.",
        ),
    ] {
        page.item(what, to, means);
    }
    page.text(
        "The socket of `job.attach` is closed when the job ends; `job.wait` says how. To leave, close it. The command of \
         `job.exec` is hung up when its socket is closed, and killed after five seconds.",
    );
}

/// Every kind of event, with its fields.
fn events(page: &mut Page, document: &Value) {
    page.section("EVENTS");
    page.text("The kinds of events and their fields; `seq`, `at` and `kind` are in all of them.");
    for event in array(&document["components"]["schemas"]["Event"]["oneOf"]) {
        let fields = fields(event).into_iter().filter(|(name, _)| *name != "kind");
        let fields: Vec<String> = fields.map(|(name, schema)| format!("`{name}` ({})", kind(schema))).collect();
        let what = format!("{} Fields: {}.", described(event), fields.join(", "));
        page.item(text(&event["properties"]["kind"]["const"]), "", &what);
    }
}

fn call(page: &mut Page, document: &Value, method: &Value) {
    let name = text(&method["name"]);
    page.part(name);
    page.text(text(&method["description"]));
    for param in array(&method["params"]) {
        let need = if param["required"] == true { "" } else { ", optional" };
        let kind = format!("{}{need}", kind(&param["schema"]));
        page.item(text(&param["name"]), &kind, text(&param["description"]));
    }
    let result = text(&method["result"]["schema"]["$ref"]).rsplit('/').next().unwrap();
    match fields(&document["components"]["schemas"][result]) {
        _ if result == "JobView" => page.text("The result is a `JobView`, see below."),
        fields if fields.is_empty() => page.text("The result is an empty object."),
        fields => {
            page.text("The result:");
            for (name, schema) in fields {
                page.item(name, &kind(schema), described(schema));
            }
        }
    }
    for sent in method["x-notifications"].as_array().into_iter().flatten() {
        let of = match kind(&sent["params"]).as_str() {
            "Empty" => String::new(),
            of => format!(", with the parameters {of}"),
        };
        page.text(&format!("Sent afterwards: `{}`{of}. {}", text(&sent["name"]), text(&sent["description"])));
    }
    let all: Vec<String> = ANY_CALL.iter().map(|code| json!(code).as_str().unwrap().to_owned()).collect();
    let errors = array(&method["errors"]).map(|error| text(&error["$ref"]).rsplit('/').next().unwrap().to_owned());
    let errors: Vec<String> = errors.filter(|error| !all.contains(error)).map(|error| format!("`{error}`")).collect();
    if !errors.is_empty() {
        page.text(&format!("It may also give {}.", errors.join(" or ")));
    }
    let example = &method["examples"][0];
    let params: Map<String, Value> =
        array(&example["params"]).map(|param| (text(&param["name"]).to_owned(), param["value"].clone())).collect();
    let mut shown = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{name}\"");
    if !params.is_empty() {
        shown += &format!(",\"params\":{}", Value::from(params));
    }
    shown += "}\n";
    let result =
        if name == "job.show" { example["result"]["value"].clone() } else { short(&example["result"]["value"]) };
    shown += &spread(&result, 0);
    for frame in example["x-notifications"].as_array().into_iter().flatten() {
        shown += &format!("\n{}", spread(&short(frame), 0));
    }
    page.example(&shown);
}

/// The named values: those with fields, and the words of the others.
fn values(page: &mut Page, document: &Value) {
    let results: Vec<&str> =
        array(&document["methods"]).map(|m| text(&m["result"]["schema"]["$ref"]).rsplit('/').next().unwrap()).collect();
    for (name, schema) in object(&document["components"]["schemas"]) {
        let shown_above = results.contains(&name.as_str()) && name != "JobView";
        if shown_above || ["Empty", "Event"].contains(&name.as_str()) {
            continue;
        }
        page.part(name);
        let about = described(schema);
        if !about.is_empty() {
            page.text(about);
        }
        for (field, schema) in fields(schema) {
            page.item(field, &kind(schema), described(schema));
        }
        for one in schema["oneOf"].as_array().into_iter().flatten() {
            let word = one["enum"][0].as_str().or(one["const"].as_str());
            if let Some(word) = word {
                page.item(word, "", described(one));
            }
        }
    }
}

fn fields(schema: &Value) -> Vec<(&str, &Value)> {
    let fields = schema["properties"].as_object().into_iter().flatten();
    fields.map(|(name, schema)| (name.as_str(), schema)).collect()
}

fn described(schema: &Value) -> &str {
    schema["description"].as_str().unwrap_or_default()
}

/// What a value is, in a few words.
fn kind(schema: &Value) -> String {
    let all = |of: &str| {
        let and = if of == "allOf" { " and " } else { " or " };
        array(&schema[of]).filter(|one| one["type"] != "null").map(kind).collect::<Vec<_>>().join(and)
    };
    let may_be_null = |of: &Value| array(of).any(|one| one["type"] == "null" || one == "null");
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap().to_owned();
    }
    if let Some(of) = ["anyOf", "oneOf", "allOf"].into_iter().find(|of| schema[*of].is_array()) {
        let null = if may_be_null(&schema[of]) { " or null" } else { "" };
        return format!("{}{null}", all(of));
    }
    let name = |kind: &str| match kind {
        "array" if schema["items"].is_array() => {
            format!("list of {}", array(&schema["items"]).map(kind_of).collect::<Vec<_>>().join(" and "))
        }
        "array" => format!("list of {}", kind_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("object of {}", kind_of(&schema["additionalProperties"]))
        }
        other => other.to_owned(),
    };
    match &schema["type"] {
        Value::String(one) => name(one),
        Value::Array(many) => many.iter().map(|one| name(one.as_str().unwrap())).collect::<Vec<_>>().join(" or "),
        _ => "any value".to_owned(),
    }
}

fn kind_of(schema: &Value) -> String {
    kind(schema)
}

/// The same with jobs that show little more than what they are.
fn short(value: &Value) -> Value {
    match value {
        Value::Object(map) if map.contains_key("waiting_reason") && map.contains_key("dir") => {
            let mut shown: Map<String, Value> =
                ["id", "state"].into_iter().map(|key| (key.to_owned(), map[key].clone())).collect();
            shown.insert("…".to_owned(), "…".into());
            shown.into()
        }
        Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), short(value))).collect()),
        Value::Array(all) => all.iter().map(short).collect(),
        other => other.clone(),
    }
}

/// JSON in lines that fit where there is room for them, and in one where all of it does.
fn spread(value: &Value, depth: usize) -> String {
    let line = value.to_string().replace("\"…\":\"…\"", "…");
    let (indent, below) = ("  ".repeat(depth), "  ".repeat(depth + 1));
    if line.chars().count() + indent.len() < 64 {
        return line;
    }
    let lines = |open: char, parts: Vec<String>, close: char| {
        let parts: Vec<String> = parts.into_iter().map(|part| format!("{below}{part}")).collect();
        format!("{open}\n{}\n{indent}{close}", parts.join(",\n"))
    };
    match value {
        Value::Object(map) => {
            let part = |(key, value): (&String, &Value)| format!("\"{key}\": {}", spread(value, depth + 1));
            lines('{', map.iter().map(part).collect(), '}')
        }
        Value::Array(all) => lines('[', all.iter().map(|value| spread(value, depth + 1)).collect(), ']'),
        _ => line,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

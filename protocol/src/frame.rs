//! JSON-RPC 2.0 in newline-delimited frames: bytes to messages and back, bounded, without I/O.
//! It refuses to know the methods.

use crate::error::{Code, Error};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest frame, in bytes, without its newline.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// The largest slice of a bulk that a client should put into one frame, in bytes.
pub const BULK_FRAME: usize = 1024 * 1024;

/// The longest id of a call, in bytes, as it stands in the frame.
pub const MAX_ID: usize = 256;

/// The id of a call: a number or a string, chosen by the caller. It comes back byte for byte.
pub type Id<'a> = &'a RawValue;

/// A call: `{"jsonrpc":"2.0","id":1,"method":"job.show","params":{…}}`.
#[derive(Debug)]
pub struct Request<'a> {
    /// Comes back with the reply.
    pub id: Id<'a>,
    /// The method's name.
    pub method: String,
    /// Its parameters, an object that is not yet read; an empty one if there are none.
    pub params: &'a RawValue,
}

/// What a daemon sends: the reply to a call, or a notification of a subscription.
#[derive(Debug)]
pub enum Incoming {
    /// The reply to the call with this id; `None` if the daemon could not tell which.
    Reply(Option<Box<RawValue>>, Result<Box<RawValue>, Error>),
    /// A notification: its method and parameters.
    Notification(String, Box<RawValue>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a request, which is an object with jsonrpc, id, method and params")]
struct WireRequest<'a> {
    #[serde(borrow)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// Reads a call.
///
/// # Errors
/// The frame is too long, not JSON, or not a request; with the id that the reply should carry, if there was one.
pub fn decode_request(frame: &[u8]) -> Result<Request<'_>, (Option<Id<'_>>, Error)> {
    if frame.len() > MAX_FRAME {
        return Err((None, too_large()));
    }
    let text = std::str::from_utf8(frame).map_err(|e| {
        (None, Error::new(Code::ParseError, format!("the frame is not UTF-8 at byte {}", e.valid_up_to())))
    })?;
    let wire = members(text).map_err(|error| (None, error))?;
    let invalid = |id, what: &str| (id, Error::new(Code::InvalidRequest, what.to_owned()));
    let is_id = |id: &Id<'_>| id.get().len() <= MAX_ID && id.get().starts_with(|c: char| "\"-0123456789".contains(c));
    let id = wire.id.filter(is_id);
    let string = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    if wire.jsonrpc.and_then(string).as_deref() != Some("2.0") {
        return Err(invalid(id, "\"jsonrpc\": \"2.0\" is missing"));
    }
    let Some(given) = id else {
        let what = format!(
            "\"id\" must be a number or a string of at most {MAX_ID} bytes; calls without a reply are not offered"
        );
        return Err(invalid(None, &what));
    };
    let Some(method) = wire.method.and_then(string) else {
        return Err(invalid(id, "\"method\" is missing, or is not a string"));
    };
    let params = wire.params.unwrap_or(<&RawValue>::default_object());
    if !params.get().starts_with('{') {
        let what = "\"params\" must be an object: parameters are given by name";
        return Err((id, Error::new(Code::InvalidArgument, what)));
    }
    Ok(Request { id: given, method, params })
}

/// The members of a request; what is JSON and no request is told apart from what is not JSON.
fn members(text: &str) -> Result<WireRequest<'_>, Error> {
    // A list would be read as the members in their order.
    let is_batch = text.trim_ascii_start().starts_with('[');
    let why = match serde_json::from_str(text) {
        Ok(wire) if !is_batch => return Ok(wire),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
        return Err(Error::new(Code::ParseError, format!("not JSON: {error}")));
    }
    Err(match why {
        Some(why) if !is_batch => Error::new(Code::InvalidRequest, format!("not a JSON-RPC request: {why}")),
        _ => Error::new(Code::InvalidRequest, "calls in a list, a batch, are not offered")
            .hint("send a line for each call; they are answered in their order"),
    })
}

trait DefaultObject {
    fn default_object() -> Self;
}

impl DefaultObject for &'static RawValue {
    fn default_object() -> Self {
        serde_json::from_str("{}").expect("an empty object is JSON")
    }
}

/// The error for a frame without an end in sight.
#[must_use]
pub fn too_large() -> Error {
    Error::new(Code::FrameTooLarge, format!("a frame is at most {MAX_FRAME} bytes")).hint("send large bulks in slices")
}

/// Reads what a daemon sent.
///
/// # Errors
/// It is neither a reply nor a notification.
pub fn decode_incoming(frame: &[u8]) -> Result<Incoming, Error> {
    #[derive(Deserialize)]
    struct Wire {
        id: Option<Box<RawValue>>,
        result: Option<Box<RawValue>>,
        error: Option<WireError>,
        method: Option<String>,
        params: Option<Box<RawValue>>,
    }
    let strange = || Error::new(Code::Internal, "the daemon's answer is not understood");
    let wire: Wire =
        serde_json::from_slice(frame).map_err(|e| Error::new(Code::Internal, format!("{}: {e}", strange())))?;
    match wire {
        Wire { method: Some(method), params: Some(params), .. } => Ok(Incoming::Notification(method, params)),
        Wire { id, error: Some(error), .. } => Ok(Incoming::Reply(id, Err(error.into()))),
        Wire { id, result: Some(result), .. } => Ok(Incoming::Reply(id, Ok(result))),
        _ => Err(strange()),
    }
}

#[derive(Serialize, Deserialize)]
struct WireError {
    code: i32,
    message: String,
    data: WireErrorData,
}

#[derive(Serialize, Deserialize)]
struct WireErrorData {
    code: Code,
    hint: Option<String>,
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Self {
        Self { code: wire.data.code, message: wire.message, hint: wire.data.hint }
    }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("wire types have string keys and no failing parts");
    bytes.push(b'\n');
    bytes
}

/// A call as bytes, with its newline.
pub fn encode_request(id: impl Serialize, method: &str, params: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Wire<'a, I, P> {
        jsonrpc: &'static str,
        id: I,
        method: &'a str,
        params: &'a P,
    }
    line(&Wire { jsonrpc: "2.0", id, method, params })
}

/// A good reply as bytes, with its newline.
pub fn encode_result(id: Id<'_>, result: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Wire<'a, R> {
        jsonrpc: &'static str,
        id: Id<'a>,
        result: &'a R,
    }
    line(&Wire { jsonrpc: "2.0", id, result })
}

/// A refusal as bytes, with its newline.
#[must_use]
pub fn encode_error(id: Option<Id<'_>>, error: &Error) -> Vec<u8> {
    #[derive(Serialize)]
    struct Wire<'a> {
        jsonrpc: &'static str,
        id: Option<Id<'a>>,
        error: WireError,
    }
    let data = WireErrorData { code: error.code, hint: error.hint.clone() };
    let error = WireError { code: error.code.number(), message: error.message.clone(), data };
    line(&Wire { jsonrpc: "2.0", id, error })
}

/// A notification as bytes, with its newline.
pub fn encode_notification(method: &str, params: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Wire<'a, P> {
        jsonrpc: &'static str,
        method: &'a str,
        params: &'a P,
    }
    line(&Wire { jsonrpc: "2.0", method, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_call_reads_back_as_it_was_written_and_its_id_byte_for_byte() {
        for id in ["7", "0", "-1", "1e3", "18446744073709551616", r#""""#, r#""a\u0062""#] {
            let bytes = encode_request(raw(id), "job.show", &serde_json::json!({"id": "12"}));
            let request = decode_request(bytes.strip_suffix(b"\n").unwrap()).unwrap();
            assert_eq!((request.method.as_str(), request.params.get()), ("job.show", r#"{"id":"12"}"#));
            let reply = encode_result(request.id, &true);
            assert_eq!(
                String::from_utf8(reply).unwrap(),
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":true}}\n")
            );
        }
    }

    #[test]
    fn every_refusal_is_typed_and_carries_the_id_if_there_was_one() {
        let long = |n: usize| format!(r#"{{"jsonrpc":"2.0","id":"{}","method":1}}"#, "x".repeat(n));
        for (frame, code, id) in [
            (&b"\xff\xfe"[..], Code::ParseError, None),
            (b"", Code::ParseError, None),
            (b"{", Code::ParseError, None),
            (b"[1", Code::ParseError, None),
            (br#"{"jsonrpc":2.0,"id":1,"method":"x"}}"#, Code::ParseError, None),
            (b"[]", Code::InvalidRequest, None),
            (b"1", Code::InvalidRequest, None),
            (b"null", Code::InvalidRequest, None),
            (br#" ["2.0",1,"status",{}]"#, Code::InvalidRequest, None),
            (br#"[{"jsonrpc":"2.0","id":1,"method":"x"}]"#, Code::InvalidRequest, None),
            (b"{}", Code::InvalidRequest, None),
            (br#"{"jsonrpc":"2.0","method":"x"}"#, Code::InvalidRequest, None),
            (br#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, Code::InvalidRequest, None),
            (br#"{"jsonrpc":"2.0","id":[1],"method":"x"}"#, Code::InvalidRequest, None),
            (br#"{"jsonrpc":"2.0","id":true,"method":"x"}"#, Code::InvalidRequest, None),
            (br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#, Code::InvalidRequest, None),
            (br#"{"jsonrpc":"2.0","id":1,"method":"x","parms":{}}"#, Code::InvalidRequest, None),
            (br#"{"jsonrpc":"2.0","id":1}"#, Code::InvalidRequest, Some("1")),
            (br#"{"jsonrpc":"2.0","id":"a","method":1}"#, Code::InvalidRequest, Some(r#""a""#)),
            (br#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, Code::InvalidRequest, Some("1")),
            (br#"{"jsonrpc":2.0,"id":1,"method":"x"}"#, Code::InvalidRequest, Some("1")),
            (br#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#, Code::InvalidArgument, Some("1")),
            (br#"{"jsonrpc":"2.0","id":1,"method":"x","params":"y"}"#, Code::InvalidArgument, Some("1")),
            (long(MAX_ID - 1).as_bytes(), Code::InvalidRequest, None),
            (&vec![b' '; MAX_FRAME + 1], Code::FrameTooLarge, None),
        ] {
            let (of, error) = decode_request(frame).unwrap_err();
            let shown = String::from_utf8_lossy(&frame[..frame.len().min(60)]);
            assert_eq!((error.code, of.map(RawValue::get)), (code, id), "{shown}: {error}");
        }
        assert!(decode_request(long(MAX_ID - 2).as_bytes()).unwrap_err().0.is_some());
    }

    #[test]
    fn nesting_is_skipped_here_without_recursion_and_refused_where_it_is_read() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
            "[".repeat(500_000),
            "]".repeat(500_000)
        );
        let request = decode_request(deep.as_bytes()).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(request.params.get()).is_err());
    }

    #[test]
    fn an_error_reads_back_with_its_code_and_hint() {
        let error = Error::new(Code::NotFound, "no job 9").hint("qrm jobs lists them");
        let bytes = encode_error(Some(&raw("3")), &error);
        match decode_incoming(&bytes).unwrap() {
            Incoming::Reply(Some(id), Err(read)) => assert_eq!((id.get(), read), ("3", error)),
            other => panic!("{other:?}"),
        }
    }
}

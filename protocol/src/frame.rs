//! JSON-RPC 2.0 in newline-delimited frames: bytes to messages and back, bounded, without I/O.
//! It refuses to know the methods.

use crate::error::{Code, Error};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest frame, in bytes, without its newline.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// The largest slice of a bulk that a client should put into one frame, in bytes.
pub const BULK_FRAME: usize = 1024 * 1024;

/// A call: `{"jsonrpc":"2.0","id":1,"method":"job.show","params":{…}}`.
#[derive(Debug)]
pub struct Request<'a> {
    /// Chosen by the caller; comes back with the reply.
    pub id: u64,
    /// The method's name.
    pub method: String,
    /// Its parameters, not yet read; an empty object if there are none.
    pub params: &'a RawValue,
}

/// What a daemon sends: the reply to a call, or a notification of a subscription.
#[derive(Debug)]
pub enum Incoming {
    /// The reply to the call with this id; `None` if the daemon could not tell which.
    Reply(Option<u64>, Result<Box<RawValue>, Error>),
    /// A notification: its method and parameters.
    Notification(String, Box<RawValue>),
}

#[derive(Deserialize)]
struct WireRequest<'a> {
    jsonrpc: Option<&'a str>,
    id: Option<serde_json::Value>,
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// Reads a call.
///
/// # Errors
/// The frame is too long, not JSON, or not a request; with the id that the reply should carry, if there was one.
pub fn decode_request(frame: &[u8]) -> Result<Request<'_>, (Option<u64>, Error)> {
    if frame.len() > MAX_FRAME {
        return Err((None, too_large()));
    }
    let text = std::str::from_utf8(frame).map_err(|e| {
        (None, Error::new(Code::ParseError, format!("the frame is not UTF-8 at byte {}", e.valid_up_to())))
    })?;
    let wire: WireRequest<'_> = serde_json::from_str(text)
        .map_err(|e| (None, Error::new(Code::ParseError, format!("not a JSON-RPC request: {e}"))))?;
    let invalid = |id, what: &str| (id, Error::new(Code::InvalidRequest, what.to_owned()));
    let id = match wire.id {
        Some(serde_json::Value::Number(n)) => n.as_u64(),
        _ => None,
    };
    if wire.jsonrpc != Some("2.0") {
        return Err(invalid(id, "\"jsonrpc\": \"2.0\" is missing"));
    }
    let Some(number) = id else {
        return Err(invalid(None, "\"id\" must be a number from 0; calls without a reply are not offered"));
    };
    let Some(method) = wire.method else {
        return Err(invalid(id, "\"method\" is missing"));
    };
    let empty = <&RawValue>::default_object();
    Ok(Request { id: number, method, params: wire.params.unwrap_or(empty) })
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
        id: Option<u64>,
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
pub fn encode_request(id: u64, method: &str, params: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Wire<'a, P> {
        jsonrpc: &'static str,
        id: u64,
        method: &'a str,
        params: &'a P,
    }
    line(&Wire { jsonrpc: "2.0", id, method, params })
}

/// A good reply as bytes, with its newline.
pub fn encode_result(id: u64, result: &impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Wire<'a, R> {
        jsonrpc: &'static str,
        id: u64,
        result: &'a R,
    }
    line(&Wire { jsonrpc: "2.0", id, result })
}

/// A refusal as bytes, with its newline.
#[must_use]
pub fn encode_error(id: Option<u64>, error: &Error) -> Vec<u8> {
    #[derive(Serialize)]
    struct Wire {
        jsonrpc: &'static str,
        id: Option<u64>,
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

    #[test]
    fn a_call_reads_back_as_it_was_written() {
        let bytes = encode_request(7, "job.show", &serde_json::json!({"id": "12"}));
        let request = decode_request(bytes.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((request.id, request.method.as_str(), request.params.get()), (7, "job.show", r#"{"id":"12"}"#));
    }

    #[test]
    fn every_refusal_is_typed() {
        for (frame, code) in [
            (&b"\xff\xfe"[..], Code::ParseError),
            (b"{", Code::ParseError),
            (b"[]", Code::ParseError),
            (b"{}", Code::InvalidRequest),
            (br#"{"jsonrpc":"2.0","method":"x"}"#, Code::InvalidRequest),
            (br#"{"jsonrpc":"2.0","id":-1,"method":"x"}"#, Code::InvalidRequest),
            (br#"{"jsonrpc":"2.0","id":1}"#, Code::InvalidRequest),
            (br#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, Code::InvalidRequest),
            (&vec![b' '; MAX_FRAME + 1], Code::FrameTooLarge),
        ] {
            let (_, error) = decode_request(frame).unwrap_err();
            assert_eq!(error.code, code, "{}", String::from_utf8_lossy(&frame[..frame.len().min(60)]));
        }
    }

    #[test]
    fn nesting_is_skipped_here_without_recursion_and_refused_where_it_is_read() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}{}}}"#,
            "[".repeat(500_000),
            "]".repeat(500_000)
        );
        let request = decode_request(deep.as_bytes()).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(request.params.get()).is_err());
    }

    #[test]
    fn an_error_reads_back_with_its_code_and_hint() {
        let error = Error::new(Code::NotFound, "no job 9").hint("qrm jobs lists them");
        let bytes = encode_error(Some(3), &error);
        match decode_incoming(&bytes).unwrap() {
            Incoming::Reply(Some(3), Err(read)) => assert_eq!(read, error),
            other => panic!("{other:?}"),
        }
    }
}

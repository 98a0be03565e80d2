//! The JSON Schemas of values whose text on the wire is read by hand, so that a program can check it before it is sent.
//! They say what is written and what is read; where both differ, what is read.

use crate::amount::{Bytes, Priority};
use crate::ids::{JobId, JobRef};
use crate::job::spec::{PriorityGiven, PtyGiven};
use crate::job::{ArraySpec, Backoff, DependsOn, OfferId, RetryOn};
use crate::log::LogText;
use crate::progress::Fraction;
use crate::queue::QueueName;
use crate::signal::Signal;
use crate::terminal::Size;
use crate::text::OsText;
use crate::time::{Millis, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

macro_rules! written_by_hand {
    ($($name:ident: $schema:tt;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

written_by_hand! {
    JobRef: {
        "description": "A job, as 12, or one task of an array, as 12.3.",
        "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$"
    };
    DependsOn: {
        "description": "A job, as 12, one task of an array, as 12.3, or, for an array, of 12.* the task with the same index.",
        "type": "string", "pattern": r"^[0-9]+(\.([0-9]+|\*))?$"
    };
    OfferId: {
        "description": "An offer: the number of its job and its place, as 12-1.",
        "type": "string", "pattern": "^[0-9]+-[0-9]+$"
    };
    QueueName: {
        "description": "The name of a queue.", "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,31}$"
    };
    JobId: { "description": "The number of a job.", "type": "integer", "minimum": 1 };
    OsText: {
        "description": "Bytes without NUL: a string if they are UTF-8, else pairs of hexadecimal digits.",
        "oneOf": [
            { "type": "string" },
            {
                "type": "object", "required": ["hex"], "additionalProperties": false,
                "properties": { "hex": {
                    "description": "The bytes.", "type": "string", "pattern": "^([0-9A-Fa-f][0-9A-Fa-f])*$"
                } }
            }
        ]
    };
    LogText: {
        "description": "Bytes: a string if they are UTF-8, else pairs of hexadecimal digits.",
        "oneOf": [
            { "type": "string" },
            {
                "type": "object", "required": ["hex"], "additionalProperties": false,
                "properties": { "hex": {
                    "description": "The bytes.", "type": "string", "pattern": "^([0-9A-Fa-f][0-9A-Fa-f])*$"
                } }
            }
        ]
    };
    Timestamp: {
        "description": "An instant, RFC 3339 with a zone; written in UTC with milliseconds.",
        "type": "string", "format": "date-time"
    };
    Fraction: { "description": "How much is done, from nothing to all.", "type": "number", "minimum": 0, "maximum": 1 };
    Millis: { "description": "A duration in milliseconds.", "type": "integer", "minimum": 0 };
    Bytes: { "description": "A size in bytes.", "type": "integer", "minimum": 0 };
    Priority: { "description": "0 to 100; 50 is normal.", "type": "integer", "minimum": 0, "maximum": 100 };
    PriorityGiven: {
        "description": "0 to 100, or a word for 25, 50, 75 and 100.",
        "oneOf": [
            { "type": "integer", "minimum": 0, "maximum": 100 },
            { "type": "string", "pattern": "^(low|normal|high|critical|[0-9]+)$" }
        ]
    };
    Size: {
        "description": "The size of a terminal, lines and columns, as 24x80.",
        "type": "string", "pattern": "^[0-9]{1,4}x[0-9]{1,4}$"
    };
    PtyGiven: {
        "description": "Whether it has a terminal, or how large that is, as 24x80.",
        "oneOf": [{ "type": "boolean" }, { "type": "string", "pattern": "^[0-9]{1,4}x[0-9]{1,4}$" }]
    };
    Signal: {
        "description": "A signal: the kernel's number, or its name with or without SIG.",
        "oneOf": [
            { "type": "integer", "minimum": 1, "maximum": 64 },
            { "type": "string", "pattern": "^[A-Za-z0-9]+$" }
        ]
    };
    ArraySpec: {
        "description": "The tasks of an array, as 0-99, 0-99:2 for every second, 0-99%8 for at most 8 at once.",
        "type": "string", "pattern": "^[0-9]+(-[0-9]+)?(:[0-9]+)?(%[0-9]+)?$"
    };
    RetryOn: {
        "description": "An exit code from 1 to 255 as a string, oom, lost or preempted.",
        "type": "string", "pattern": "^([0-9]+|oom|lost|preempted)$"
    };
    Backoff: {
        "description": "The wait before the second attempt and the longest one, as 1s..1m; each is twice the one before.",
        "type": "string", "pattern": r"^[0-9a-z ]+(\.\.[0-9a-z ]+)?$"
    };
}

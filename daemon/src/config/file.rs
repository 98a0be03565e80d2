//! The configuration file: which text stands for which setting, and where what can not be meant stands.
//! It refuses to know what settings mean.

use super::keys::{KEYS, find};
use super::queues::{self, Queue};
use super::{Config, Origin, unknown};
use qrm_protocol::method::Mistake;
use qrm_protocol::queue::{MAX_QUEUES, QueueName, QueueSpec};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A place in the text of a file.
struct At<'a> {
    path: &'a Path,
    text: &'a str,
}

impl At<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text[..offset.min(self.text.len())].matches('\n').count() + 1
    }

    fn mistake(&self, offset: usize, why: &str, hint: Option<String>) -> Mistake {
        let line = self.line(offset);
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let begin = self.text[..offset.min(self.text.len())].rfind('\n').map_or(0, |at| at + 1);
        let column = self.text[begin..offset.min(self.text.len())].chars().count() + 1;
        Mistake {
            message: format!("{}:{line}:{column}: {why}", self.path.display()),
            hint,
            line: Some(line as u64),
            column: Some(column as u64),
            text: Some(text.to_owned()),
        }
    }
}

/// Sets what a file says; what of it can not be meant.
pub(super) fn take(config: &mut Config, path: &Path, text: &str) -> Vec<Mistake> {
    let at = At { path, text };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(e) => return vec![at.mistake(e.span().map_or(0, |span| span.start), e.message(), None)],
    };
    let mut mistakes = Vec::new();
    for (section, value) in table.get_ref() {
        let (name, begin) = (section.get_ref().as_ref(), section.span().start);
        match value.get_ref() {
            value if name == queues::SECTION => mistakes.extend(take_queues(config, &at, begin, value)),
            DeValue::Table(keys) => mistakes.extend(take_section(config, &at, (name, begin), keys)),
            value => mistakes.push(outside(&at, (name, begin), value)),
        }
    }
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes
}

/// Something at the top that is no section.
fn outside(at: &At<'_>, (name, begin): (&str, usize), value: &DeValue<'_>) -> Mistake {
    let tables = value.as_array().is_some_and(|list| list.iter().any(|one| one.get_ref().is_table()));
    if tables {
        return at.mistake(begin, &format!("there is no [[{name}]]"), Some("did you mean [[queue]]?".to_owned()));
    }
    // Those of one section stand together.
    let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section()).collect();
    sections.dedup();
    let hint = format!("sections are [{}], and each queue is a [[queue]]", sections.join("], ["));
    at.mistake(begin, &format!("'{name}' stands outside of a section"), Some(hint))
}

fn take_section(config: &mut Config, at: &At<'_>, (name, begin): (&str, usize), keys: &DeTable<'_>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    if keys.is_empty() && !KEYS.iter().any(|key| key.section() == name) {
        let (why, hint) = unknown(&format!("{name}.*"));
        mistakes.push(at.mistake(begin, &why, Some(hint)));
    }
    for (key, value) in keys {
        let name = format!("{name}.{}", key.get_ref());
        mistakes.extend(take_entry(config, at, &name, key.span().start, value).err());
    }
    mistakes
}

fn take_entry(
    config: &mut Config,
    at: &At<'_>,
    name: &str,
    begin: usize,
    value: &Spanned<DeValue<'_>>,
) -> Result<(), Mistake> {
    let Some(key) = find(name) else {
        let (why, hint) = unknown(name);
        return Err(at.mistake(begin, &why, Some(hint)));
    };
    let start = value.span().start;
    let wrong = |start: usize, why: &str| at.mistake(start, &format!("{name}: {why}"), None);
    let plain = match value.get_ref() {
        DeValue::Array(list) if key.takes.contains("list") => {
            joined(list).ok_or_else(|| at.mistake(start, &format!("'{name}' takes a list of strings"), None))?
        }
        DeValue::Table(table) if key.takes.contains("table") => {
            let mut parts = Vec::new();
            for (part, value) in table {
                let text = scalar(value.get_ref()).unwrap_or_default();
                let text = format!("{}={text}", part.get_ref());
                // Each of them alone, to say where it stands.
                (key.set)(&mut Config::default(), &text).map_err(|why| wrong(part.span().start, &why))?;
                parts.push(text);
            }
            parts.join(",")
        }
        DeValue::Boolean(_) => return Err(at.mistake(start, &format!("'{name}' takes {}", key.takes), None)),
        value => scalar(value).ok_or_else(|| at.mistake(start, &format!("'{name}' takes {}", key.takes), None))?,
    };
    (key.set)(config, &plain).map_err(|why| wrong(start, &why))?;
    config.origins.insert(key.name, Origin::File(at.path.to_owned(), at.line(begin)));
    Ok(())
}

/// The text of what is one value.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(is) => Some(is.to_string()),
        _ => None,
    }
}

/// A list of strings, with commas; nothing if there is something else in it.
fn joined(list: &DeArray<'_>) -> Option<String> {
    let texts = list.iter().map(|one| match one.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    });
    Some(texts.collect::<Option<Vec<String>>>()?.join(","))
}

fn take_queues(config: &mut Config, at: &At<'_>, begin: usize, value: &DeValue<'_>) -> Vec<Mistake> {
    let no_table =
        |start: usize| at.mistake(start, "each queue is a table of its own", Some(queues::EXAMPLE.to_owned()));
    let Some(list) = value.as_array() else { return vec![no_table(begin)] };
    let mut mistakes = Vec::new();
    for queue in list {
        let start = queue.span().start;
        match queue.get_ref().as_table() {
            Some(table) => mistakes.extend(take_queue(config, at, start, table)),
            None => mistakes.push(no_table(start)),
        }
    }
    if config.queues.len() > MAX_QUEUES {
        mistakes.push(at.mistake(begin, &format!("more than {MAX_QUEUES} queues are configured"), None));
    }
    mistakes
}

fn take_queue(config: &mut Config, at: &At<'_>, begin: usize, table: &DeTable<'_>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let (mut name, mut spec) = (None, QueueSpec::default());
    for (key, value) in table {
        let (word, start) = (key.get_ref().as_ref(), value.span().start);
        let text = scalar(value.get_ref());
        if word == "name" {
            match text.map(|text| text.parse::<QueueName>().map_err(|why| why.to_string())) {
                Some(Ok(read)) => name = Some((read, start)),
                Some(Err(why)) => mistakes.push(at.mistake(start, &why, None)),
                None => mistakes.push(at.mistake(start, "the name of a queue is a text", None)),
            }
            continue;
        }
        let Some(key) = queues::find(word) else {
            let (why, hint) = queues::unknown(word);
            mistakes.push(at.mistake(key.span().start, &why, Some(hint)));
            continue;
        };
        let wrong = |why: String| at.mistake(start, &format!("{word}: {why}"), None);
        let set = match text {
            Some(text) => (key.set)(&mut spec, &text).map_err(wrong),
            None => Err(at.mistake(start, &format!("'{word}' takes {}", key.takes), None)),
        };
        mistakes.extend(set.err());
    }
    if !mistakes.is_empty() {
        return mistakes;
    }
    let Some((name, start)) = name else {
        return vec![at.mistake(begin, "this queue has no name", Some("write name = \"night\"".to_owned()))];
    };
    let spec = match spec.checked() {
        Ok(spec) => spec,
        Err(error) => return vec![at.mistake(begin, &format!("queue {name}: {}", error.message), error.hint)],
    };
    if let Some(other) = config.queues.get(&name) {
        let hint = format!("the other is at {}", other.origin);
        return vec![at.mistake(start, &format!("two queues are named '{name}'"), Some(hint))];
    }
    let origin = Origin::File(at.path.to_owned(), at.line(begin));
    config.queues.insert(name, Queue { spec, origin });
    mistakes
}

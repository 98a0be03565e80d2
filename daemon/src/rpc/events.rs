//! Subscriptions: the events after a number, from the store, page by page; then, if wanted, what follows.
//! It refuses to buffer for anyone: a slow reader reads later from the store, and a gap is told.

use super::jobs::read;
use super::view::Eyes;
use super::{Client, Frames, Shared};
use crate::store::PastEvent;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::event::EventView;
use qrm_protocol::frame::{self, Id};
use qrm_protocol::ids::{JobId, JobRef, Seq};
use qrm_protocol::method::{EVENT, EVENT_END, Empty, SubscribeParams, SubscribeReply};
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many events are read at once, and none after those that fill so many bytes: one alone may be nearly a frame.
const PAGE: u32 = 500;
const PAGE_BYTES: usize = 1 << 20;

/// Answers, and then sends events until there are no more or the client is gone; false closes the connection.
pub(super) async fn subscribe(
    client: &Client,
    frames: &mut Frames,
    shared: &Arc<Shared>,
    id: Id<'_>,
    params: SubscribeParams,
) -> std::io::Result<bool> {
    let mut condition = shared.engine.condition();
    let last = condition.borrow().last_seq;
    let oldest = match read(shared, |reader| reader.oldest_event()).await {
        Ok(oldest) => oldest.unwrap_or(last + 1),
        Err(error) => return client.refuse(id, &error).await.map(|()| true),
    };
    let asked = params.after.unwrap_or(last);
    if asked > last {
        let error = Error::invalid(format!("event {asked} has not happened; the newest is {last}"))
            .hint("--after takes the number of an event that was seen");
        return client.refuse(id, &error).await.map(|()| true);
    }
    let mut after = asked.max(oldest.saturating_sub(1));
    let lagged = if asked == 0 { 0 } else { after - asked };
    client.reply(id, &SubscribeReply { after, last, lagged }).await?;
    loop {
        condition.borrow_and_update();
        loop {
            // Settings may have been read again meanwhile.
            let eyes = Eyes::of(client, shared);
            let events = match read(shared, move |reader| reader.events(after, PAGE, PAGE_BYTES)).await {
                Ok(events) => events,
                Err(error) => return client.give_up(&error).await,
            };
            let Some(newest) = events.last().map(|e| e.seq) else { break };
            // Some may have been forgotten before they were read: who subscribes again is told how many. A number that was
            // never used, after a power failure, is no gap.
            if events.first().is_some_and(|first| first.seq != after + 1) {
                match read(shared, |reader| reader.oldest_event()).await {
                    Ok(oldest) if oldest.is_none_or(|oldest| oldest > after + 1) => {
                        tracing::info!(after, "a reader is so slow that its next events are forgotten; it is let go");
                        return Ok(false);
                    }
                    Ok(_) => {}
                    Err(error) => return client.give_up(&error).await,
                }
            }
            let own = match seen(shared, eyes, &events).await {
                Ok(own) => own,
                Err(error) => return client.give_up(&error).await,
            };
            let mut bytes = Vec::new();
            for event in &events {
                match view(event).map(|view| if is_seen(&view, own.as_ref()) { view } else { hide(view) }) {
                    Ok(view) if concerns(&view, params.job) => bytes.extend(frame::encode_notification(EVENT, &view)),
                    Ok(_) => {}
                    Err(error) => {
                        client.send(&bytes).await?;
                        return client.give_up(&error).await;
                    }
                }
            }
            client.send(&bytes).await?;
            after = newest;
        }
        if !params.follow {
            client.notify(EVENT_END, &Empty {}).await?;
            return Ok(true);
        }
        tokio::select! {
            changed = condition.changed() => if changed.is_err() { return Ok(false) },
            // Whatever a follower says, it says that it follows no more.
            _ = frames.next() => return Ok(false),
            () = shared.ending.begun() => return Ok(false),
        }
    }
}

fn view(event: &PastEvent) -> Result<EventView, Error> {
    let broken = |seq: Seq, why: &dyn std::fmt::Display| {
        Error::new(Code::Internal, format!("event {seq} is not understood: {why}"))
    };
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&event.body).map_err(|e| broken(event.seq, &e))?;
    match fields.remove("kind") {
        Some(serde_json::Value::String(kind)) => Ok(EventView { seq: event.seq, at: event.at, kind, fields }),
        _ => Err(broken(event.seq, &"it has no kind")),
    }
}

/// Those of the jobs in these events whose words the caller sees; nothing if that is all of them.
async fn seen(shared: &Shared, eyes: Eyes, events: &[PastEvent]) -> Result<Option<BTreeSet<JobId>>, Error> {
    let Some(uid) = eyes.see_only() else { return Ok(None) };
    let views: Vec<EventView> = events.iter().filter_map(|event| view(event).ok()).collect();
    let jobs: BTreeSet<JobId> = views.iter().filter_map(|view| job_of(view).map(|id| id.job)).collect();
    read(shared, move |reader| reader.jobs_of(uid, jobs)).await.map(Some)
}

fn is_seen(event: &EventView, seen: Option<&BTreeSet<JobId>>) -> bool {
    seen.is_none_or(|seen| job_of(event).is_none_or(|id| seen.contains(&id.job)))
}

/// What people and jobs say, wherever an event has it.
const WORDS: [&str; 4] = ["name", "comment", "labels", "message"];

fn hide(mut event: EventView) -> EventView {
    event.fields.retain(|name, _| !WORDS.contains(&name.as_str()));
    if let Some(serde_json::Value::Object(failure)) = event.fields.get_mut("failure") {
        failure.retain(|name, _| !WORDS.contains(&name.as_str()));
    }
    event
}

fn job_of(event: &EventView) -> Option<JobRef> {
    event.fields.get("job")?.as_str()?.parse().ok()
}

/// Whether an event is about a job: a whole job means its tasks too.
fn concerns(event: &EventView, job: Option<JobRef>) -> bool {
    let Some(wanted) = job else { return true };
    job_of(event).is_some_and(|of| of == wanted || (wanted.task.is_none() && of.job == wanted.job))
}

//! Taking what a job was offered instead of waiting.
//! It refuses to know what can still be had: the core does.

use super::control::why_not;
use super::{Client, Shared};
use qrm_core::{Action, Answer};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::method::{OfferParams, OfferReply};

pub(super) async fn accept(client: &Client, shared: &Shared, params: OfferParams) -> Result<OfferReply, Error> {
    let offer = params.id;
    match shared.engine.command(client.caller, Action::OfferAccept { offer }, Vec::new()).await {
        Ok(reply) => match reply.answer {
            Answer::Accepted(job, offer) => Ok(OfferReply { job, offer }),
            _ => Err(Error::new(Code::Internal, "an offer was answered with something else")),
        },
        // Its job may be over.
        Err(error) if error.code == Code::NotFound => {
            Err(why_not(client, shared, &[offer.job.into()]).await?.unwrap_or(error))
        }
        Err(error) => Err(error),
    }
}

//! What keeps a page current: a stream of the pieces that changed.
//!
//! **What is this room for?** Each open page has one stream of server-sent events. When the [`feed`](crate::serve::feed)
//! that operators watch makes a step, the page is rendered once more and compared with what its viewer has seen; only the
//! pieces that differ are sent.
//!
//! **What does it promise?** What is on the screen is what a reload would show. A page is looked at twice a second at
//! most, and less often when that takes long. A viewer who comes back says by `Last-Event-ID` what it has seen, and is
//! told nothing when that still holds, else everything; one whose page has other parts, or is of a master of before, is
//! told to load it again. A viewer who reads slowly is told fewer, larger changes; nothing
//! piles up for it. Every few seconds there is a beat, so that silence means trouble.
//!
//! **What does it leave to others?** What a page shows is decided by its renderer, what differs by
//! [`changes`](super::changes).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Extensions, HeaderMap, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use super::assets;
use super::changes::Seen;
use super::layout::verdict;
use super::load::{Loaded, Occasion, load};
use super::site::{Site, Viewer};
use super::view::{self, View};
use crate::driver::Picture;

/// Events on their way to one viewer.
pub const QUEUE: usize = 4;

/// Between two looks at the data of one page: as fast as somebody can read.
const GAP: Duration = Duration::from_millis(500);

/// A look that took long is followed by a rest of so many times that, so that viewers never take most of the machine.
const REST: u32 = 4;

/// Something is said at least so often.
const BEAT: Duration = Duration::from_secs(5);

/// The stream of one page's changes.
pub async fn serve(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let address = view::value(uri.query(), "page");
    let (path, query) = match address.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (address.as_str(), None),
    };
    let Some(view) = View::at(path, query) else {
        return refused([event("trouble", "no page is at this address")]);
    };
    let seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seen = seen.unwrap_or_else(|| view::value(uri.query(), "seen"));
    let Ok(permit) = site.viewers.clone().try_acquire_owned() else {
        return refused([event("trouble", TOO_MANY)]);
    };
    let (sender, events) = mpsc::channel(QUEUE);
    tokio::spawn(keep_current(site, Viewer(extensions), view, seen, sender, permit));
    Sse::new(ReceiverStream::new(events)).into_response()
}

/// What one viewer too many is told.
pub const TOO_MANY: &str = "too many pages are open at once; close some, or load this one again by hand";

/// A refusal as events on a stream that then ends: a script that listens can read no other answer.
pub fn refused(events: impl IntoIterator<Item = Event>) -> Response {
    let events = events.into_iter().map(Ok::<_, Infallible>).collect::<Vec<_>>();
    Sse::new(tokio_stream::iter(events)).into_response()
}

/// Done when the driver has ended: streams end with it, so that the master can.
pub async fn end_of_driver(mut pictures: watch::Receiver<Arc<Picture>>) {
    while pictures.changed().await.is_ok() {}
}

/// An event of this name with a value as JSON, which has no line breaks.
pub fn event(name: &str, value: impl Serialize) -> Event {
    let json = serde_json::to_string(&value).expect("texts and numbers are JSON");
    Event::default().event(name).data(json)
}

async fn keep_current(
    site: Arc<Site>,
    who: Viewer,
    view: View,
    seen: String,
    sender: mpsc::Sender<Result<Event, Infallible>>,
    _permit: OwnedSemaphorePermit,
) {
    // The very steps that `Watch` tells: a page is looked at again when one was made.
    let (_, mut steps) = site.doors.feed.subscribe("");
    let stopped = end_of_driver(site.doors.driver.pictures());
    tokio::pin!(stopped);
    let mut told = Told { token: seen, seen: None };
    // The first look always says something, so that a new stream is known to work.
    let mut beat = Instant::now();
    loop {
        steps = steps.resubscribe();
        let began = Instant::now();
        let news = match load(&site, &who, &view, Occasion::Changed).await {
            Ok(loaded) => told.tell(&loaded, beat <= began),
            Err(status) => Some(event("trouble", status.message())),
        };
        if let Some(news) = news {
            if sender.send(Ok(news)).await.is_err() {
                return;
            }
            beat = Instant::now() + BEAT;
        }
        tokio::select! {
            () = sleep(GAP.max(began.elapsed() * REST)) => {}
            () = sender.closed() => return,
        }
        tokio::select! {
            // What comes from elsewhere, measurements and services, is looked at with the beat.
            () = sleep_until(beat) => {}
            // Also when it was too slow for all of them: they are only a reason to look.
            _ = steps.recv() => {}
            () = &mut stopped => return,
            () = sender.closed() => return,
        }
    }
}

/// What a viewer has been told.
struct Told {
    /// By its token; empty when it says nothing.
    token: String,
    /// Not known when it was told by an earlier stream, or with the page itself.
    seen: Option<Seen>,
}

impl Told {
    /// What it must be told now, if anything: a change, a beat, or to load again what no change can mend.
    fn tell(&mut self, loaded: &Loaded, beat: bool) -> Option<Event> {
        let now = seen(loaded);
        if !now.fits(&self.token) {
            return Some(event("reload", ""));
        }
        let token = now.token();
        let change = match token == self.token {
            true => None,
            false => now.since(self.seen.as_ref()),
        };
        self.seen = Some(now);
        match change {
            Some(change) => {
                self.token = token;
                Some(event("change", change).id(&self.token))
            }
            None => beat.then(|| event("beat", loaded.cluster.now_ms).id(&self.token)),
        }
    }
}

/// What somebody sees of a page. The master's epoch stands in its foot, and its script and style sheet are of one build:
/// a master that was started or changed anew has other pages.
pub fn seen(Loaded { cluster, page }: &Loaded) -> Seen {
    let edition = format!("{} {}", cluster.epoch, assets::edition());
    Seen::of(edition, verdict(cluster), page)
}

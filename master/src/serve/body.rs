//! The bodies of calls: how much of them is held at a time, and how long one is waited for.
//!
//! **What is this room for?** A call is held as a whole, up to [`limits::MESSAGE_BYTES_MAX`](super::limits::MESSAGE_BYTES_MAX),
//! from its first byte until the driver has it or it is answered, and one connection may have hundreds of them. Here it is
//! counted what all calls with one token hold.
//!
//! **What does it promise?** They hold no more than [`UNDER_WAY_MAX`] together: a call that would need more is refused, and
//! the others of its token and of everybody else go on. A call of which nothing more comes is refused after
//! [`SILENCE_MAX`].
//!
//! **What does it leave to others?** Calls that go on as long as their connection does ([`STREAMS`]): these have bounds of
//! their own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tonic::Status;

use crate::driver::Held;

/// What all calls that are under way with one token may hold: four of the largest, or thousands of the usual ones.
pub(super) const UNDER_WAY_MAX: usize = 4 * super::limits::MESSAGE_BYTES_MAX;

/// How long nothing more of a call may come.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Calls in which the caller says one thing after the other for as long as it wants.
const STREAMS: [&str; 2] =
    ["/bourse.agent.v1.AgentLink/Link", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"];

/// What the calls with one token hold. Goes along among the extensions of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Account(Arc<AtomicUsize>);

/// What one call holds of it, given back when it is answered and the driver has taken what it says.
struct Share {
    account: Account,
    bytes: AtomicUsize,
}

impl Share {
    fn add(&self, bytes: usize) -> Result<(), Status> {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = self.account.0.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= UNDER_WAY_MAX {
            return Ok(());
        }
        // Not RESOURCE_EXHAUSTED, which says of a call that it is too large by itself.
        Err(Status::unavailable(format!(
            "the calls that are under way with this token have more than {} MiB together; wait for the answers of some \
             before you send more",
            UNDER_WAY_MAX >> 20
        )))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.0.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A body that is counted.
struct Counted {
    body: BodyDataStream,
    share: Arc<Share>,
    /// While nothing comes: until it was silent for another half of what it may be.
    silent: Option<Pin<Box<Sleep>>>,
    /// So many halves have passed.
    halves: u8,
}

impl Stream for Counted {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = &mut *self;
        match Pin::new(&mut me.body).poll_next(context) {
            Poll::Ready(Some(Ok(piece))) => {
                (me.silent, me.halves) = (None, 0);
                Poll::Ready(Some(me.share.add(piece.len()).map(|()| piece).map_err(BoxError::from)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => me.wait(context),
        }
    }
}

impl Counted {
    /// In halves: when the master itself stood still, the first of them is over at once, and what came meanwhile is read
    /// within the second.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            let silent = self.silent.get_or_insert_with(|| Box::pin(sleep(SILENCE_MAX / 2)));
            if silent.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            (self.silent, self.halves) = (None, self.halves + 1);
            if self.halves == 2 {
                let text = format!(
                    "nothing more of this call came for {} s; send it as a whole",
                    SILENCE_MAX.as_secs()
                );
                return Poll::Ready(Some(Err(Status::deadline_exceeded(text).into())));
            }
        }
    }
}

/// Counts what a call holds. Needs its [`Account`]; leaves a [`Held`] for what the call says to the driver.
pub(super) async fn count(mut request: Request, next: Next) -> Response {
    let Some(account) = request.extensions_mut().remove::<Account>() else { return next.run(request).await };
    if STREAMS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let share = Arc::new(Share { account, bytes: AtomicUsize::new(0) });
    request.extensions_mut().insert(Held::new(share.clone()));
    let request = request.map(|body| {
        let body = body.into_data_stream();
        Body::from_stream(Counted { body, share: share.clone(), silent: None, halves: 0 })
    });
    let response = next.run(request).await;
    drop(share);
    response
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::Code;

    use super::*;

    /// A body that is given piece by piece, and what is counted of it.
    fn body(account: &Account) -> (mpsc::Sender<Result<Bytes, BoxError>>, Counted) {
        let (sender, pieces) = mpsc::channel(1);
        let share = Arc::new(Share { account: account.clone(), bytes: AtomicUsize::new(0) });
        let body = Body::from_stream(ReceiverStream::new(pieces)).into_data_stream();
        (sender, Counted { body, share, silent: None, halves: 0 })
    }

    async fn next(body: &mut Counted) -> Option<Result<usize, Code>> {
        let piece = poll_fn(|context| Pin::new(&mut *body).poll_next(context)).await?;
        Some(piece.map(|piece| piece.len()).map_err(|error| Status::from_error(error).code()))
    }

    #[tokio::test]
    async fn calls_of_one_token_share_what_they_may_hold_and_what_has_ended_holds_nothing() {
        let (account, other) = (Account::default(), Account::default());
        let half = || Ok(Bytes::from(vec![0; UNDER_WAY_MAX / 2]));
        let (first, mut first_body) = body(&account);
        let (second, mut second_body) = body(&account);
        for (sender, body) in [(&first, &mut first_body), (&second, &mut second_body)] {
            sender.send(half()).await.expect("there is room");
            assert_eq!(next(body).await, Some(Ok(UNDER_WAY_MAX / 2)));
        }
        let (third, mut third_body) = body(&account);
        third.send(Ok(Bytes::from_static(b"x"))).await.expect("there is room");
        assert_eq!(next(&mut third_body).await, Some(Err(Code::Unavailable)));
        let (foreign, mut foreign_body) = body(&other);
        foreign.send(half()).await.expect("there is room");
        assert_eq!(next(&mut foreign_body).await, Some(Ok(UNDER_WAY_MAX / 2)));

        drop((first_body, third_body));
        let (fourth, mut fourth_body) = body(&account);
        fourth.send(half()).await.expect("there is room");
        assert_eq!(next(&mut fourth_body).await, Some(Ok(UNDER_WAY_MAX / 2)));
        drop(fourth);
        assert_eq!(next(&mut fourth_body).await, None);
        drop((second_body, fourth_body));
        assert_eq!(account.0.load(Ordering::Relaxed), 0);
    }
}

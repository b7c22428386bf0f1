//! How large a message may be, and what is said of one that is too large or no message at all.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use tonic::{Code, Status};

/// The most bytes of one message, in either direction: the same for both ends of a connection.
pub use bourse_client::MESSAGE_BYTES_MAX;

/// The most bytes of one message of an agent's. Agents make pages of 1 MiB of what they register, and the largest record of
/// one is less than that; what comes before a registration is read is held beside all that is counted.
pub const LINK_MESSAGE_BYTES_MAX: usize = 4 << 20;

/// tonic's own words and codes for a message that it could not take are for programmers of tonic (OUT_OF_RANGE,
/// INTERNAL). Says the same for those who call: RESOURCE_EXHAUSTED and INVALID_ARGUMENT. Leaves others as they are.
pub(super) fn plainer(status: Status) -> Status {
    let message = status.message();
    match status.code() {
        Code::OutOfRange if message.contains("message length too large") => {
            let mut figures = message.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
            let found = figures.next().map(|bytes| format!("it has {bytes} bytes, ")).unwrap_or_default();
            let limit = figures.next().unwrap_or(MESSAGE_BYTES_MAX as u64) >> 20;
            Status::resource_exhausted(format!(
                "this message is too large: {found}the limit is {limit} MiB; send it in pieces (fewer tasks in one ACCEPT, \
                 smaller data)"
            ))
        }
        Code::Internal if message.contains("decode") && message.contains("Protobuf") => {
            Status::invalid_argument(format!(
                "this message is not valid protobuf of the call's type: {message}"
            ))
        }
        _ => status,
    }
}

/// Applies [`plainer`] to calls that tonic answers before a handler has seen them.
pub(super) async fn speak_plainly(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(status) = refused_at_once(response.headers()) {
        let plain = plainer(status.clone());
        if plain.code() != status.code() {
            let (parts, body) = plain.into_http::<axum::body::Body>().into_parts();
            response.headers_mut().extend(parts.headers);
            *response.body_mut() = body;
        }
    }
    response
}

/// A gRPC answer that is nothing but a status has it in its headers.
fn refused_at_once(headers: &HeaderMap) -> Option<Status> {
    headers.get("grpc-status")?;
    Status::from_header_map(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_too_large_is_refused_in_words_for_whoever_sent_it() {
        let tonics = Status::out_of_range(
            "Error, decoded message length too large: found 104857600 bytes, the limit is: 16777216 bytes",
        );
        let plain = plainer(tonics);
        assert_eq!(plain.code(), Code::ResourceExhausted);
        assert!(plain.message().contains("104857600 bytes, the limit is 16 MiB"), "{}", plain.message());
    }

    #[test]
    fn other_statuses_stay_as_they_are() {
        let status = plainer(Status::internal("something else"));
        assert_eq!((status.code(), status.message()), (Code::Internal, "something else"));
    }
}

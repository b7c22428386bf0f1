//! What is shown instead of a page that cannot be.

use axum::http::StatusCode;
use bourse_words::Tone;
use maud::html;
use tonic::{Code, Status};

use super::names::prose;
use super::page::{Page, Part};
use super::parts::mark;

/// The page that tells what was refused, and why.
pub fn page(status: &Status) -> Page {
    let title = match status.code() {
        Code::NotFound => "Not here",
        Code::PermissionDenied | Code::Unauthenticated => "Not yours to see",
        Code::FailedPrecondition | Code::InvalidArgument => "Which one?",
        _ => "Not now",
    };
    let parts = vec![Part::Still(html! {
        p.notice.bad { (mark(Tone::Bad)) (prose(status.message())) }
        p.more { a href="/" { "Overview" } }
    })];
    Page { title: title.into(), command: "bourse status".into(), parts }
}

/// The same for HTTP.
pub fn code(status: &Status) -> StatusCode {
    match status.code() {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

//! The status page.
//!
//! **What is this room for?** The cluster for people with a browser: pages that the master renders itself and keeps
//! current while they are open. Nothing is loaded from elsewhere, and without a script everything can still be read.
//!
//! **What does it promise?** The page, the command line and the API say the same: it asks the same handlers with the same
//! caller, and each page names the command that tells the same. Total, reserved, offered, allocated and used are five
//! different things. What is not running says why. Nothing is silently stale. Whatever somebody has named is shown as
//! text and never becomes markup; the browser is told to run and load nothing but our own files.
//!
//! **What does it leave to others?** Who may look is decided before a request gets here, what there is to see by the
//! operator API. The pages change nothing: they show the command that would.

mod agents;
mod assets;
mod bars;
mod changes;
mod events;
mod explain;
mod frameworks;
mod layout;
mod live;
mod load;
mod log;
mod names;
mod offers;
mod overview;
mod page;
mod parts;
mod roles;
mod search;
mod services;
mod site;
mod tasks;
mod trouble;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use tonic::Status;

use super::Doors;
use layout::{Frame, document};
use load::{Loaded, Occasion, load};
use site::{Site, Viewer};
use view::View;

/// What the browser may do with a page: load our own style sheet, script and icon, ask this master, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The pages. They see what every door sees, and every request has passed [`auth`](super::auth).
pub(super) fn routes(doors: &Doors) -> Router {
    let show = || get(show);
    Router::new()
        .route("/", show())
        .route("/agents", show())
        .route("/agents/{agent}", show())
        .route("/frameworks", show())
        .route("/frameworks/{framework}", show())
        .route("/offers", show())
        .route("/roles", show())
        .route("/services", show())
        .route("/services/{service}", show())
        .route("/tasks", show())
        .route("/tasks/{framework}/{task}", show())
        .route("/tasks/{framework}/{task}/logs", get(log::follow))
        .route("/tasks/{framework}/{task}/{log}", get(log::file))
        .route("/events", show())
        .route("/search", get(find))
        .route("/live", get(live::serve))
        .route("/assets/{name}", get(assets::serve))
        .layer(from_fn(harden))
        .with_state(Arc::new(Site::new(doors.clone())))
}

/// A page.
async fn show(State(site): State<Arc<Site>>, uri: Uri, extensions: Extensions) -> Response {
    let Some(view) = View::at(uri.path(), uri.query()) else {
        let nowhere = Status::not_found(format!("no page is at {}", uri.path()));
        return refused(&site, &Viewer(extensions), &View::Search(String::new()), &nowhere).await;
    };
    let who = Viewer(extensions);
    match load(&site, &who, &view, Occasion::Opened).await {
        Ok(loaded) => whole(&view, &loaded),
        Err(status) => refused(&site, &who, &view, &status).await,
    }
}

/// Straight to the page that was surely meant, else what was found.
async fn find(State(site): State<Arc<Site>>, uri: Uri, extensions: Extensions) -> Response {
    let who = Viewer(extensions);
    let view = View::Search(view::value(uri.query(), "q").trim().to_owned());
    let View::Search(text) = &view else { return StatusCode::NOT_FOUND.into_response() };
    let found = async {
        let cluster = site.cluster(&who).await?;
        let found = load::found(&site, &who, text, cluster.now_ms).await?;
        Ok::<_, Status>((cluster, found))
    };
    match found.await {
        Ok((cluster, found)) => match found.meant(text) {
            Some(address) => Redirect::to(&address).into_response(),
            None => whole(&view, &Loaded { cluster, page: search::page(text, &found) }),
        },
        Err(status) => refused(&site, &who, &view, &status).await,
    }
}

fn whole(view: &View, loaded: &Loaded) -> Response {
    let frame = Frame { view, cluster: Some(&loaded.cluster), seen: Some(live::seen(loaded).token()) };
    html(StatusCode::OK, &frame, &loaded.page)
}

async fn refused(site: &Site, who: &Viewer, view: &View, status: &Status) -> Response {
    let cluster = site.cluster(who).await.ok();
    let frame = Frame { view, cluster: cluster.as_ref(), seen: None };
    html(trouble::code(status), &frame, &trouble::page(status))
}

fn html(code: StatusCode, frame: &Frame<'_>, page: &page::Page) -> Response {
    let html = document(frame, page).into_string();
    (code, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

/// What every answer of this room says about itself.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

//! What a browser without a token is shown: where to find the link, and a field for the token itself.
//!
//! The page stands alone, since even the style sheet of the others is behind the door.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, PreEscaped, html};

use super::Refusal;

/// The field sends the token to this master, and the browser loads nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fbfaf7; --text: #1e1d1a; --muted: #645f56; --line: #e4e0d6; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #141517; --text: #e8e5de; --muted: #a19b90; --line: #2b2d31; }
}
body { font: 15px/1.55 system-ui, sans-serif; background: var(--ground); color: var(--text);
  max-width: 64ch; margin: 12vh auto; padding: 0 20px; }
h1 { font: 400 26px/1.2 ui-serif, Georgia, serif; }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
dl { border-top: 1px solid var(--line); } dt { margin-top: 14px; color: var(--muted); } dd { margin: 2px 0 0; }
form { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 26px 0; }
input { flex: 1 1 22ch; } input, button { font: inherit; padding: 5px 10px; }
";

/// The page, with 401. It leads to the overview: the address that was asked is somebody else's text.
pub(super) fn page(refusal: &Refusal) -> Response {
    let why = match refusal {
        Refusal::Missing => {
            "This master shows its pages to those who have a token, and your browser has sent none."
        }
        Refusal::Unknown => {
            "This master does not know the token that your browser has sent: it may be of another cluster, or an old one."
        }
    };
    let html = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "A token is needed · Bourse" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "A token is needed" }
                p { (why) }
                dl {
                    dt { "A cluster that " code { "bourse dev" } " started" }
                    dd { "It prints the link with the token when it is ready. The token is also in the file "
                        code { "token" } " of its state directory, for root " code { "/var/lib/bourse/dev/token" } "." }
                    dt { "Any other" }
                    dd { "Whoever runs it has a tokens file (" code { "bourse master --tokens FILE" } "); one of kind "
                        code { "operator" } " opens this page." }
                }
                form method="get" action="/" {
                    label for="token" { "Token" }
                    input #token name="token" type="password" autocomplete="off" required autofocus;
                    button { "Open the status page" }
                }
                p { "The browser keeps a cookie that is made from it and can only look at these pages; the token itself is neither \
                    kept nor shown in the address." }
            }
        }
    };
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    let fresh = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (StatusCode::UNAUTHORIZED, [kind, policy, fresh], html.into_string()).into_response()
}

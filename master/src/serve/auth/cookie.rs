//! The cookie that shows the status page to a browser.
//!
//! It is made from the token and never is the token: a browser sends its cookies to every port of a host, so to any task
//! that was given one there. What it opens is looking at pages ([`super::check_page`]); it steers nothing. It needs no
//! memory of the master's, so that a page that is open goes on after a restart, and ends with its token.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::{CONTROLS, percent_decode_str, utf8_percent_encode};
use ring::hmac;

/// Its name, without its port.
const NAME: &str = "bourse-page";

/// What is signed with the token: no other value that is ever made from one is the same.
const LABEL: &[u8] = b"bourse page";

/// The value for this token, as hexadecimal text.
pub(super) fn of_token(token: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    hmac::sign(&key, LABEL).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Browsers keep one set of cookies for all ports of a host: the name has the port that the browser asked, so that two
/// clusters on one machine do not take each other's cookie away.
fn name(request: &Request) -> String {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let asked = host.and_then(|host| host.parse::<Authority>().ok());
    match asked.as_ref().or(request.uri().authority()).and_then(Authority::port_u16) {
        Some(port) => format!("{NAME}-{port}"),
        None => NAME.to_owned(),
    }
}

/// The one that the browser sent.
pub(super) fn shown(request: &Request) -> Option<&[u8]> {
    let name = name(request);
    let all = request.headers().get_all(header::COOKIE).iter();
    let mut pairs = all.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// What the `token` of a query may be: as it stands, as somebody wrote the link, then decoded, as a form sends it. A plus
/// stays one, since no token holds a space.
pub(super) fn query_token(query: Option<&str>) -> Option<[Vec<u8>; 2]> {
    let raw = query?.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    Some([raw.as_bytes().to_vec(), percent_decode_str(raw).collect()])
}

/// Sends the browser with its cookie to the same place without the token in the address, where it would be seen and
/// kept. `secure`: it came by TLS, and shall never send the cookie without.
pub(super) fn keep(request: &Request, cookie: &str, secure: bool) -> Response {
    let rest =
        request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("token="));
    let rest = rest.collect::<Vec<_>>().join("&");
    // Only ever a path of ours: one that begins with two slashes, of whichever kind, would name another host.
    let path = format!("/{}", request.uri().path().trim_start_matches(['/', '\\']));
    let place = if rest.is_empty() { path } else { format!("{path}?{rest}") };
    let name = name(request);
    // Not Strict: a browser that followed a link from elsewhere would not send it along the redirect.
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{name}={cookie}; Path=/; HttpOnly; SameSite=Lax{secure}");
    // A path may have been sent with letters that no header takes.
    let place = utf8_percent_encode(&place, CONTROLS).to_string();
    let place = HeaderValue::from_str(&place).expect("printable ASCII");
    let cookie = HeaderValue::from_str(&cookie).expect("a name of ours, a number and hexadecimal text");
    (StatusCode::SEE_OTHER, [(header::LOCATION, place), (header::SET_COOKIE, cookie)]).into_response()
}

#[cfg(test)]
mod tests {
    use bourse_hostile::{soon, text};
    use proptest::prelude::*;

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let builder =
            headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        builder.body(axum::body::Body::empty()).expect("a request")
    }

    #[test]
    fn a_token_always_makes_the_same_cookie_and_no_other_does() {
        let cookie = of_token("0123456789abcdef0");
        assert_eq!(cookie, of_token("0123456789abcdef0"));
        assert_ne!(cookie, of_token("0123456789abcdef1"));
        assert!(cookie.len() == 64 && cookie.bytes().all(|byte| byte.is_ascii_hexdigit()), "{cookie}");
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let request = request(&[("cookie", "a=b; bourse-page=secret; c=d")]);
        assert_eq!(shown(&request), Some(&b"secret"[..]));
    }

    #[test]
    fn two_masters_on_one_host_have_cookies_of_their_own() {
        let of = |host| {
            let request =
                request(&[("host", host), ("cookie", "bourse-page-5050=one; bourse-page-6050=two")]);
            shown(&request).map(<[u8]>::to_vec)
        };
        assert_eq!(of("127.0.0.1:5050"), Some(b"one".to_vec()));
        assert_eq!(of("[::1]:6050"), Some(b"two".to_vec()));
        assert_eq!((of("127.0.0.1:7050"), of("127.0.0.1")), (None, None));
    }

    #[test]
    fn a_browser_is_sent_on_to_a_place_with_any_letters() {
        let odd = Request::builder().uri("/tasks/f\u{fc}r/\u{1f4a5}?token=secret&q=\u{fc}&x=%0d");
        let request = odd.body(axum::body::Body::empty()).expect("a request");
        let response = keep(&request, "cookie", false);
        let to_us = Request::builder().uri("/\\evil.example/?token=secret").body(axum::body::Body::empty());
        let to_us = keep(&to_us.expect("a request"), "cookie", false);
        assert_eq!(to_us.headers()[header::LOCATION], "/evil.example/");
        assert_eq!(response.headers()[header::LOCATION], "/tasks/f%C3%BCr/%F0%9F%92%A5?q=%C3%BC&x=%0d");
    }

    proptest! {
        #[test]
        fn whatever_an_address_says_the_browser_is_sent_to_a_path_of_this_host(
            rest in text(Just("//evil.example/tasks/a%20b/t?x=1&token=secret&y=%2B".to_owned())),
        ) {
            let Ok(uri) = format!("/{rest}").parse::<axum::http::Uri>() else { return Ok(()) };
            let request = Request::builder().uri(uri).header(header::HOST, "a:5050");
            let request = request.body(axum::body::Body::empty()).expect("a request");
            let _ = (shown(&request), query_token(request.uri().query()));
            let response = soon(|| keep(&request, "cookie", true));
            let place = response.headers()[header::LOCATION].to_str().expect("it is ASCII");
            prop_assert!(place.starts_with('/') && !place[1..].starts_with(['/', '\\']), "{}", place);
            let query = place.split_once('?').map_or("", |(_, query)| query);
            prop_assert!(!query.split('&').any(|pair| pair.starts_with("token=")), "{}", place);
        }
    }

    #[test]
    fn the_token_of_a_query_is_read_as_it_stands_and_as_a_form_sends_it() {
        let [raw, decoded] = query_token(Some("x=1&token=a%2Bb+c%3D")).expect("there is one");
        assert_eq!((raw.as_slice(), decoded.as_slice()), (&b"a%2Bb+c%3D"[..], &b"a+b+c="[..]));
        assert!(query_token(Some("x=1")).is_none() && query_token(None).is_none());
    }
}

//! Style sheet, script and icon: part of the binary, kept by the browser for as long as they stay the same.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A file that pages need.
pub struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

/// How everything looks.
pub const STYLE: Asset = Asset {
    name: "page.css",
    content_type: "text/css; charset=utf-8",
    text: include_str!("assets/page.css"),
};

/// What keeps a page current and takes keys.
pub const SCRIPT: Asset = Asset {
    name: "page.js",
    content_type: "text/javascript; charset=utf-8",
    text: include_str!("assets/page.js"),
};

/// In the browser's tab.
pub const ICON: Asset =
    Asset { name: "icon.svg", content_type: "image/svg+xml", text: include_str!("assets/icon.svg") };

impl Asset {
    /// Its address, which changes with its text.
    pub fn address(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        format!("/assets/{}?v={:016x}", self.name, hasher.finish())
    }
}

/// A name for these very files.
pub fn edition() -> String {
    [STYLE, SCRIPT].map(|asset| asset.address()).join(" ")
}

/// Answers with an asset.
pub async fn serve(Path(name): Path<String>) -> Response {
    match [STYLE, SCRIPT, ICON].into_iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "private, max-age=31536000, immutable"),
            ];
            (headers, asset.text).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_loads_weighs_less_than_40_kb_and_comes_from_nowhere_else() {
        let assets = [STYLE, SCRIPT, ICON];
        assert!(assets.iter().map(|asset| asset.text.len()).sum::<usize>() < 40_000);
        for asset in assets {
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("://") && !text.contains("@import"), "{}", asset.name);
        }
    }

    /// A theme's colours by name: `--name: #rrggbb`.
    fn colours(theme: &str) -> std::collections::BTreeMap<&str, [f64; 3]> {
        let pairs = theme.split("--").filter_map(|piece| piece.split_once(": #"));
        let colours = pairs.filter_map(|(name, rest)| {
            let byte =
                |at: usize| Some(f64::from(u8::from_str_radix(rest.get(at..at + 2)?, 16).ok()?) / 255.0);
            Some((name, [byte(0)?, byte(2)?, byte(4)?]))
        });
        colours.collect()
    }

    /// Contrast as WCAG 2.2 defines it.
    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let linear =
            |part: f64| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
        let luminance = |[red, green, blue]: [f64; 3]| {
            0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue) + 0.05
        };
        let (one, other) = (luminance(one), luminance(other));
        one.max(other) / one.min(other)
    }

    #[test]
    fn every_text_can_be_read_in_both_themes() {
        let (light, rest) =
            STYLE.text.split_once("@media (prefers-color-scheme: dark)").expect("a dark theme");
        let (dark, _) = rest.split_once("}\n}").expect("its end");
        for (theme, colours) in [("light", colours(light)), ("dark", colours(dark))] {
            for text in ["text", "muted", "accent", "good", "busy", "bad"] {
                for ground in ["ground", "raised", "hover"] {
                    let contrast = contrast(colours[text], colours[ground]);
                    assert!(contrast >= 4.5, "{theme}: {text} on {ground} has a contrast of {contrast:.2}");
                }
            }
        }
    }
}

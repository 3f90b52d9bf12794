//! Not the encoding that it has to be in: escapes, UTF-8, kinds of a body, bytes of a header.

use super::rest::As::{Header, Login, Main, Token};
use super::rest::{self, Case as RestCase};
use super::signed::By::{Both, V1, V3};
use super::signed::Do::{Auth, BodyIs, Calls, Form, Head, Key, More, MoreBody, Nonce, Set, Swap, With};
use super::signed::{self, APPLY, Case, REGISTER};

const LATIN_1: &str = "application/x-www-form-urlencoded; charset=latin1";
const UTF_16: &str = "application/x-www-form-urlencoded; CHARSET=\"utf-16\"";

pub(super) const SIGNED: &[Case] = &[
    ("no hexadecimal digits", Both, &[Swap("PageSize=5", "PageSize=%zz")], 400, "InvalidParameter"),
    ("a lone %", Both, &[Swap("PageSize=5", "PageSize=%")], 400, "InvalidParameter"),
    ("half an escape", Both, &[Swap("PageSize=5", "PageSize=%2")], 400, "InvalidParameter"),
    ("an escape of JavaScript", Both, &[Swap("PageSize=5", "PageSize=%u0035")], 400, "InvalidParameter"),
    ("an escape of HTML", Both, &[Swap("PageSize=5", "PageSize=&#53;")], 400, "SignatureDoesNotMatch"),
    ("a byte of Latin-1", Both, &[Swap("PageSize=5", "PageSize=%E9")], 400, "InvalidParameter"),
    ("half a character", Both, &[Swap("PageSize=5", "PageSize=%E4%B8")], 400, "InvalidParameter"),
    ("over-long UTF-8", Both, &[Swap("PageSize=5", "PageSize=%C0%B5")], 400, "InvalidParameter"),
    ("over-long U+0000", Both, &[Swap("PageSize=5", "PageSize=%C0%80")], 400, "InvalidParameter"),
    ("a surrogate", Both, &[Swap("PageSize=5", "PageSize=%ED%A0%80")], 400, "InvalidParameter"),
    ("UTF-16", Both, &[Swap("PageSize=5", "PageSize=%FF%FE5%00")], 400, "InvalidParameter"),
    ("beyond Unicode", Both, &[Swap("PageSize=5", "PageSize=%F4%90%80%80")], 400, "InvalidParameter"),
    ("a broken name", Both, &[More("&%zz=1")], 400, "InvalidParameter"),
    ("no name", Both, &[More("&=1")], 400, "InvalidParameter"),
    ("a name with a space", Both, &[Swap("PageSize=5", "Page+Size=5")], 400, "InvalidParameter"),
    ("a name with NUL", Both, &[Swap("PageSize=5", "PageSize%00=5")], 400, "InvalidParameter"),
    ("a name with a newline", Both, &[Swap("PageSize=5", "PageSize%0A=5")], 400, "InvalidParameter"),
    ("a name with a letter that looks alike", Both, &[Swap("PageSize=5", "P%D0%B0geSize=5")], 400, "InvalidParameter"),
    ("escaped twice", Both, &[Swap("%40", "%2540")], 400, "SignatureDoesNotMatch"),
    ("a plus for a space", Both, &[With("ClientId", "a+b"), Swap("%2B", "+")], 400, "SignatureDoesNotMatch"),
    ("a broken escape in a form", Both, &[Form, MoreBody("&a=%zz")], 400, "InvalidParameter"),
    ("no UTF-8 in a form", Both, &[Form, MoreBody("&a=%FF")], 400, "InvalidParameter"),
    ("a form of another charset", Both, &[Form, Head("content-type", LATIN_1)], 400, "InvalidParameter"),
    ("no UTF-8 for a charset", Both, &[Form, Head("content-type", UTF_16)], 400, "InvalidParameter"),
    ("a form as JSON", V1, &[Form, Set("content-type", "application/json")], 400, "MissingAction"),
    ("a form as text", V1, &[Form, Set("content-type", "text/plain")], 400, "MissingAction"),
    ("a form as several parts", V1, &[Form, Set("content-type", "multipart/form-data")], 400, "MissingAction"),
    ("a signed form as JSON", V3, &[Form, Head("content-type", "application/json")], 400, "MissingMqttRegionId"),
    ("a form packed", V1, &[Form, Head("content-encoding", "gzip"), BodyIs("\u{1f}\u{8}")], 400, "InvalidParameter"),
    ("NUL in a client", Both, &[With("ClientId", "a\0b")], 400, "InvalidClientId"),
    ("NUL in a region", Both, &[With("MqttRegionId", "a\0b")], 400, "InvalidMqttRegionId"),
    ("NUL in an instance", Both, &[With("InstanceId", "mqtt-cn-test\0")], 400, "InstanceNotFound"),
    ("NUL in a number", Both, &[With("PageSize", "5\0")], 400, "InvalidPageSize"),
    ("a mark of order before a number", Both, &[With("PageSize", "\u{feff}5")], 400, "InvalidPageSize"),
    ("NUL in the client of a credential", Both, &[Calls(REGISTER), With("ClientId", "a\0")], 400, "InvalidClientId"),
    ("NUL in a topic", Both, &[Calls(APPLY), With("Resources", "a\0b")], 400, "InvalidResources"),
    ("an é in the key", V1, &[Key("mäin")], 404, "InvalidAccessKeyId.NotFound"),
    ("an é in a signed header", V3, &[Head("x-acs-signature-nonce", "é")], 400, "IncompleteSignature"),
    ("a tab in a signed header", V3, &[Head("x-acs-signature-nonce", "a\tb")], 400, "IncompleteSignature"),
    ("an é in the action", V3, &[Head("x-acs-action", "é")], 400, "InvalidParameter"),
    ("a kind of body in Latin-1", Both, &[Form, Set("content-type", "é")], 400, "InvalidParameter"),
    ("a header in upper case", V3, &[Auth("Credential=a,SignedHeaders=H,Signature=c")], 400, "IncompleteSignature"),
    ("a nonce of other than ASCII", V3, &[Nonce("中")], 400, "IncompleteSignature"),
];

pub(super) const REST: &[RestCase] = &[
    (Main, "GET", "/api/v1/events?username=%zz", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?username=%", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?username=%4", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?username=%u0041", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?username=%FF", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?username=%C0%AF", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?username=%ED%A0%80", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?%zz=1", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?li+mit=1", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?limit%00=1", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?l%C4%B1mit=1", 400, "invalid-parameter", "query"),
    (Main, "GET", "/api/v1/events?limit=1%00", 400, "invalid-parameter", "limit"),
    (Main, "GET", "/api/v1/events?action=%00close", 400, "invalid-parameter", "action"),
    (Main, "GET", "/api/v1/events?since=%00", 400, "invalid-parameter", "since"),
    (Main, "GET", "/api/v1/export?client=a%00b", 400, "invalid-parameter", "client"),
    (Main, "GET", "/api/v1/clients/%zz/events", 400, "invalid-parameter", "path"),
    (Main, "GET", "/api/v1/clients/%/events", 400, "invalid-parameter", "path"),
    (Main, "GET", "/api/v1/clients/%FF", 400, "invalid-parameter", "path"),
    (Main, "GET", "/api/v1/clients/%C0%80/sessions", 400, "invalid-parameter", "path"),
    (Main, "GET", "/api/v1/clients/%C0%80/why", 400, "invalid-parameter", "path"),
    (Main, "GET", "/api/v1/clients/%ED%A0%80/events", 400, "invalid-parameter", "path"),
    (Main, "GET", "/api/v1/clients/%00/events", 400, "invalid-parameter", "client_id"),
    (Main, "GET", "/api/v1/clients/a%00b", 400, "invalid-parameter", "client_id"),
    (Main, "DELETE", "/api/v1/clients/%00/events", 400, "invalid-parameter", "client_id"),
    (Main, "DELETE", "/api/v1/clients/%FF/events", 400, "invalid-parameter", "path"),
    (Main, "GET", "/api/v1/addresses/%FF/events", 400, "invalid-parameter", "path"),
    (Main, "GET", "/api/v1/events?cursor=%2B%2B", 400, "invalid-parameter", "cursor"),
    (Main, "GET", "/api/v1/events?cursor=e30", 400, "invalid-parameter", "cursor"),
    (Main, "GET", "/api/v1/events?cursor=eyJvZiI6", 400, "invalid-parameter", "cursor"),
    (Main, "GET", "/api/v1/connections?cursor=%00", 400, "invalid-parameter", "cursor"),
    (Main, "DELETE", "/api/v1/connections?client=%00", 400, "invalid-parameter", "client"),
    (Header("Basic ???"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Header("Basic /w=="), "GET", "/api/v1/events", 401, "login-required", ""),
    (Header("Basic é"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Header("Basic\tbWFpbjp4"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Header("Bearer bWFpbjp4"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Header("Digest username=\"main\""), "GET", "/api/v1/events", 401, "login-required", ""),
    (Header("ACS3-HMAC-SHA256 Credential=main"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Login("main\0:x"), "GET", "/api/v1/events", 401, "login-required", ""),
    (Token("sts", "é"), "GET", "/api/v1/events", 401, "login-required", ""),
];

#[tokio::test]
async fn of_signed_calls_there_is_one_encoding() {
    signed::run(SIGNED).await;
}

#[tokio::test]
async fn of_rest_calls_there_is_one_encoding() {
    rest::run(REST).await;
}

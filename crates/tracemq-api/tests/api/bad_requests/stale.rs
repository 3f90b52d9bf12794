//! Made before, too old, from the future, by a key that is no longer good.

use super::rest::As::{Key as Other, Token as Session};
use super::rest::{self, Case as RestCase};
use super::signed::By::{Both, V1, V3};
use super::signed::Do::{Again, Ago, Calls, Date, Form, Key, Set, Swap, Token, With};
use super::signed::{self, Case, GET, OF_CLIENT, QUERY, SESSION};

const NOW: &str = "2026-11-22T08:17:52Z";

pub(super) const SIGNED: &[Case] = &[
    ("a second time", Both, &[Again], 400, "SignatureNonceUsed"),
    ("a form a second time", Both, &[Form, Again], 400, "SignatureNonceUsed"),
    ("a second time after fourteen minutes", Both, &[Ago(14 * 60), Again], 400, "SignatureNonceUsed"),
    ("a second time after fifteen minutes to the second", Both, &[Ago(15 * 60), Again], 400, "SignatureNonceUsed"),
    ("from the future a second time", Both, &[Ago(-15 * 60), Again], 400, "SignatureNonceUsed"),
    ("messages a second time", Both, &[Calls(OF_CLIENT), Again], 400, "SignatureNonceUsed"),
    ("a session a second time", Both, &[Calls(SESSION), Again], 400, "SignatureNonceUsed"),
    ("a token looked up a second time", Both, &[Calls(QUERY), Again], 400, "SignatureNonceUsed"),
    ("a credential a second time", Both, &[Calls(GET), Again], 400, "SignatureNonceUsed"),
    ("a temporary key a second time", Both, &[Key("sts"), Token("CAIS+token/==%"), Again], 400, "SignatureNonceUsed"),
    ("a second too old", Both, &[Ago(15 * 60 + 1)], 400, "InvalidTimeStamp.Expired"),
    ("a second too new", Both, &[Ago(-15 * 60 - 1)], 400, "InvalidTimeStamp.Expired"),
    ("an hour old", Both, &[Ago(3_600)], 400, "InvalidTimeStamp.Expired"),
    ("an hour ahead", Both, &[Ago(-3_600)], 400, "InvalidTimeStamp.Expired"),
    ("eight hours ahead, as without a zone", Both, &[Ago(-8 * 3_600)], 400, "InvalidTimeStamp.Expired"),
    ("of yesterday", Both, &[Ago(86_400)], 400, "InvalidTimeStamp.Expired"),
    ("of 1970", Both, &[Date("1970-01-01T00:00:00Z")], 400, "InvalidTimeStamp.Expired"),
    ("of before 1970", Both, &[Date("1969-12-31T23:59:59Z")], 400, "InvalidTimeStamp.Expired"),
    ("of the year 1", Both, &[Date("0001-01-01T00:00:00Z")], 400, "InvalidTimeStamp.Expired"),
    ("of the year 9999", Both, &[Date("9999-12-30T23:59:59Z")], 400, "InvalidTimeStamp.Expired"),
    ("of the year 10000", Both, &[Date("10000-01-01T00:00:00Z")], 400, "InvalidTimeStamp.Format"),
    ("of a negative year", Both, &[Date("-0001-01-01T00:00:00Z")], 400, "InvalidTimeStamp.Format"),
    ("of a second that is none", Both, &[Date("2026-11-22T08:17:61Z")], 400, "InvalidTimeStamp.Format"),
    ("of the hour 24", Both, &[Date("2026-11-22T24:17:52Z")], 400, "InvalidTimeStamp.Format"),
    ("old in a form", Both, &[Form, Ago(3_600)], 400, "InvalidTimeStamp.Expired"),
    ("old and made new", V1, &[Ago(3_600), Swap("07%3A17", "08%3A17")], 400, "SignatureDoesNotMatch"),
    ("old and made new in a header", V3, &[Ago(3_600), Set("x-acs-date", NOW)], 400, "SignatureDoesNotMatch"),
    ("a disabled key", Both, &[Key("disabled")], 400, "InvalidAccessKeyId.Inactive"),
    ("a key at its end", Both, &[Key("ended")], 400, "InvalidAccessKeyId.Inactive"),
    ("a temporary key at its end", Both, &[Key("sts-ended"), Token("CAIS+old")], 400, "InvalidSecurityToken.Expired"),
    ("a temporary key at its end without a token", Both, &[Key("sts-ended")], 400, "MissingSecurityToken"),
    ("the token of before", Both, &[Key("sts"), Token("CAIS+old")], 400, "InvalidSecurityToken.MismatchWithAccessKey"),
    ("old and by a key of nobody's", Both, &[Ago(3_600), Key("admin")], 400, "InvalidTimeStamp.Expired"),
    ("old and for a client of nobody's", Both, &[Ago(3_600), With("ClientId", "\0")], 400, "InvalidTimeStamp.Expired"),
];

const EVENTS: &str = "/api/v1/clients/a/events";

pub(super) const REST: &[RestCase] = &[
    (Other("disabled"), "GET", EVENTS, 401, "login-required", ""),
    (Other("ended"), "GET", EVENTS, 401, "login-required", ""),
    (Other("sts-ended"), "GET", EVENTS, 401, "login-required", ""),
    (Session("sts-ended", "CAIS+old"), "GET", EVENTS, 401, "login-required", ""),
    (Session("sts", "CAIS+old"), "GET", EVENTS, 401, "login-required", ""),
    (Other("disabled"), "DELETE", EVENTS, 401, "login-required", ""),
    (Other("ended"), "DELETE", "/api/v1/connections?client=a", 401, "login-required", ""),
    (Session("sts-ended", "CAIS+old"), "GET", "/api/v1/live", 401, "login-required", ""),
    (Session("sts-ended", "CAIS+old"), "GET", "/api/v1/export", 401, "login-required", ""),
];

#[tokio::test]
async fn of_signed_calls_none_is_good_twice_or_too_late() {
    signed::run(SIGNED).await;
}

#[tokio::test]
async fn of_rest_calls_no_key_is_good_after_its_end() {
    rest::run(REST).await;
}

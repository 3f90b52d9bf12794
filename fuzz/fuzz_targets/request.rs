//! A request as the signature verifiers see it: first line the target, then headers, an empty line, and the body. No
//! input may pass without the secret, and what was decoded must survive its own canonical form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracemq_access::Secret;
use tracemq_access::accounts::AccountsFile;
use tracemq_access::params::{Params, Plus, decode, encode};
use tracemq_access::policy::Policy;
use tracemq_access::signature::{Headers, Request, acs3, parse_timestamp, rpc_v1};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let target = parts.next().unwrap_or_default();
    let rest = parts.next().unwrap_or_default();
    let split = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let (head, body) = rest.split_at(split);
    let body = body.get(2..).unwrap_or_default();

    let headers: Vec<(String, &[u8])> = head
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?.to_ascii_lowercase();
            Some((name, &line[colon + 1..]))
        })
        .collect();
    let headers = Headers::new(headers.iter().map(|(name, value)| (name.as_str(), *value)));
    if let Ok(text) = decode(target, Plus::IsSpace) {
        assert_eq!(decode(encode(&text).as_bytes(), Plus::IsSpace).as_ref(), Ok(&text));
    }
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = Policy::parse(text);
        let _ = AccountsFile::parse(text);
        let sessions = AccountsFile::new(&[7; 32]).accounts().expect("a file without users is one").sessions;
        assert!(!matches!(sessions.key("STS.x", Some(text)), Ok(Some(_))), "a token passed that was not given out");
        let _ = parse_timestamp(text);
    }
    let (Ok(query), Ok(form)) = (Params::parse(target), Params::parse(body)) else { return };
    let Ok(all) = Params::joined(&query, &form) else { return };
    let canonical = all.canonical(None);
    let again = Params::parse(canonical.as_bytes()).expect("a canonical form can be read");
    assert_eq!(again.canonical(None), canonical);
    let secret = Secret::new("a secret that no input holds").expect("a plain text is a secret");
    let request = Request { method: "POST", path: "/", query: &query, form: &form, all: &all, headers: &headers, body };
    for claim in [rpc_v1::claim(&request), acs3::claim(&request)].into_iter().flatten() {
        assert!(!claim.verify(&secret), "a request passed without the secret");
    }
});

//! What becomes of a CONNECT's credentials.
//!
//! In this order: bans, the group, a name proven by a certificate, no name at all, the three forms of ApsaraMQ, the file
//! of users, the program elsewhere.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tracemq_model::{Reason, TimeMs};

use super::identity::{Fingerprint, Proof};
use super::issued::{Bearer, Issued, Notice, Tokens};
use super::{Identity, MqttAccess, StoredPassword, group_of};
use crate::Context;
use crate::signature::hmac_sha1;

/// What a key's policy must allow for devices that sign with it, or with what was given out under it.
const PERMISSIONS: &[&str] = &["mq:MqttInstanceAccess"];

/// Whether clients without user name are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Anonymous {
    /// Always.
    Yes,
    /// As long as there is nobody whom they could prove to be.
    WhileNobodyIsKnown,
    /// Never.
    No,
}

/// What a CONNECT says, and what is known of where it came from.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The client identifier, given or assigned.
    pub client_id: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password.
    pub password: Option<&'a [u8]>,
    /// The client's address.
    pub address: IpAddr,
    /// The instance that it comes to.
    pub instance: &'a str,
    /// The name of the listener that it came in by.
    pub listener: &'a str,
    /// The user that its certificate names.
    pub proven: Option<&'a str>,
    /// Whether the listener lets clients in without user name.
    pub anonymous: Anonymous,
}

/// A refusal: the reason, and in words what would change it, never what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// In words.
    pub detail: Cow<'static, str>,
    /// What a client that is in is told before its connection ends.
    pub notice: Option<Box<Notice>>,
}

impl Refusal {
    /// One.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), notice: None }
    }

    pub(super) fn with_notice(self, notice: Notice) -> Self {
        Self { notice: Some(Box::new(notice)), ..self }
    }
}

/// What is to become of a CONNECT.
#[derive(Debug)]
pub enum Judgement {
    /// It is let in.
    Admitted(Identity),
    /// It is not.
    Refused(Refusal),
    /// A password is to be compared, which is work.
    Compare(Comparison),
    /// The program elsewhere is to be asked.
    Ask(Question),
}

/// A password to be compared; the same work whether there is such a user or not.
#[derive(Debug)]
pub struct Comparison {
    /// With what.
    pub stored: StoredPassword,
    user: Option<Arc<str>>,
    identity: Identity,
}

impl Comparison {
    /// What follows from whether it fits.
    ///
    /// # Errors
    /// The refusal: whether the user or the password is wrong is not told.
    pub fn outcome(self, fits: bool) -> Result<Identity, Refusal> {
        let wrong = Refusal::new(Reason::BadCredentials, "unknown user or wrong password");
        let Some(user) = self.user.filter(|_| fits) else { return Err(wrong) };
        Ok(Identity { user: Some(user), proof: Proof::Password(self.stored), ..self.identity })
    }
}

/// A client that the program elsewhere is to be asked about.
#[derive(Debug)]
pub struct Question {
    pub(super) identity: Identity,
}

impl MqttAccess {
    /// Judges `login` at `now`. The work done does not depend on whether the user exists.
    pub fn judge(&self, login: &Login<'_>, issued: &Issued, now: TimeMs) -> Judgement {
        match self.try_judge(login, issued, now) {
            Ok(judgement) => judgement,
            Err(refusal) => Judgement::Refused(refusal),
        }
    }

    fn try_judge(&self, login: &Login<'_>, issued: &Issued, now: TimeMs) -> Result<Judgement, Refusal> {
        let identity = Identity::new(login);
        if self.bans.iter().any(|ban| ban.fits_identity(&identity)) {
            return Err(Refusal::new(Reason::Banned, "client, user or address is in mqtt.banned"));
        }
        self.check_group(login.instance, login.client_id, issued)?;
        if let Some(user) = login.proven {
            return self.proven(identity, user).map(Judgement::Admitted);
        }
        let Some(username) = login.username else {
            return match login.anonymous {
                Anonymous::Yes => Ok(Judgement::Admitted(identity)),
                Anonymous::WhileNobodyIsKnown if self.knows_nobody() => Ok(Judgement::Admitted(identity)),
                Anonymous::WhileNobodyIsKnown | Anonymous::No => Err(Refusal::new(
                    Reason::NotAuthorized,
                    "no user name was given, and anonymous clients are not let in",
                )),
            };
        };
        if let Some(form) = Form::of(username) {
            return self.signed(&form, identity, login, issued, now).map(Judgement::Admitted);
        }
        if self.knows_nobody() && login.anonymous != Anonymous::No {
            return Ok(Judgement::Admitted(identity)); // nobody to be: any name is as good as none
        }
        let known = self.users.as_ref().and_then(|users| users.get(username));
        if known.is_none() && self.has_hook {
            return Ok(Judgement::Ask(Question { identity }));
        }
        let nobody = || StoredPassword::of_nobody(super::Cost::default());
        let stored = match (known, &self.users) {
            (Some(user), _) => user.password.clone(),
            (None, Some(users)) => users.nobody().clone(),
            (None, None) => nobody(),
        };
        let user = known.filter(|user| user.enabled).map(|user| Arc::clone(&user.name));
        Ok(Judgement::Compare(Comparison { stored, user, identity }))
    }

    pub(super) fn check_group(&self, instance: &str, client_id: &str, issued: &Issued) -> Result<(), Refusal> {
        let Some(groups) = &self.groups else { return Ok(()) };
        match group_of(client_id) {
            Some(group) if groups.contains(group) || issued.groups.has(instance, group) => Ok(()),
            Some(_) => Err(Refusal::new(
                Reason::NotAuthorized,
                "the client's group is not in mqtt.groups, nor was it created by a call",
            )),
            None => Err(Refusal::new(Reason::NotAuthorized, "the client identifier is not GROUP@@@DEVICE")),
        }
    }

    fn proven(&self, identity: Identity, user: &str) -> Result<Identity, Refusal> {
        let known = match &self.users {
            Some(users) => users.get(user).is_some_and(|user| user.enabled),
            None => true,
        };
        if !known {
            let detail = "the common name of the client's certificate is no user";
            return Err(Refusal::new(Reason::NotAuthorized, detail));
        }
        Ok(Identity { user: Some(user.into()), proof: Proof::Certificate, ..identity })
    }

    fn signed(
        &self,
        form: &Form<'_>,
        identity: Identity,
        login: &Login<'_>,
        issued: &Issued,
        now: TimeMs,
    ) -> Result<Identity, Refusal> {
        if form.instance != login.instance {
            return Err(Refusal::new(Reason::NotAuthorized, "the user name names another instance"));
        }
        let password = login.password.unwrap_or_default();
        let proof = match form.mode {
            Mode::Signature => {
                let secret = self.signing_key(form.id, form.instance, login.address, now)?;
                check_signature(Some(secret), login.client_id, password)?;
                Proof::Signature(Fingerprint::of(secret))
            }
            Mode::Token => {
                self.signing_key(form.id, form.instance, login.address, now)?;
                let password = std::str::from_utf8(password).unwrap_or_default();
                let bearer = Bearer { access_key_id: form.id, instance: form.instance };
                let tokens = Tokens::of_password(&issued.tokens, password, bearer, now);
                Proof::Tokens(tokens.map_err(|fault| Refusal::new(Reason::BadCredentials, fault.text))?)
            }
            Mode::DeviceCredential => {
                let credential = issued.devices.get(form.instance, login.client_id);
                let secret = credential.filter(|one| one.id == form.id).map(|one| one.secret.as_str());
                check_signature(secret, login.client_id, password)?;
                Proof::Device(Fingerprint::of(secret.unwrap_or_default()))
            }
        };
        Ok(Identity { user: Some(form.id.into()), proof, ..identity })
    }

    /// The secret of an access key that devices of `instance` may come in with.
    pub(super) fn signing_key(&self, id: &str, instance: &str, address: IpAddr, now: TimeMs) -> Result<&str, Refusal> {
        // One text for all of them: which keys there are is nobody's business.
        let unusable = || {
            Refusal::new(
                Reason::BadCredentials,
                "the access key is unknown, disabled or expired, or the signature is wrong",
            )
        };
        let key = self.keys.get(id).filter(|key| key.enabled && !key.has_expired(now)).ok_or_else(unusable)?;
        let account = self.account.as_str();
        let resources = [format!("acs:mq:*:{account}:{instance}"), format!("acs:mq:*:{account}:instance/{instance}")];
        let resources = resources.each_ref().map(String::as_str);
        // Whether it comes over TLS is not known here.
        let context = Context { source_ip: Some(address), time: Some(now), secure: None };
        if key.account != self.account || key.allows(PERMISSIONS, &resources, &context).is_err() {
            let detail = "the access key gives no right to the instance (mq:MqttInstanceAccess)";
            return Err(Refusal::new(Reason::NotAuthorized, detail));
        }
        Ok(key.secret.reveal())
    }
}

/// The password must be the signature of the client identifier, in Base64.
fn check_signature(secret: Option<&str>, client_id: &str, password: &[u8]) -> Result<(), Refusal> {
    let expected = BASE64.encode(hmac_sha1(secret.unwrap_or_default().as_bytes(), client_id.as_bytes()));
    let same: bool = expected.as_bytes().ct_eq(password).into();
    if same && secret.is_some() {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::BadCredentials,
        "the access key is unknown, disabled or expired, or the signature is wrong",
    ))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Signature,
    Token,
    DeviceCredential,
}

/// A user name such as `Signature|ACCESS KEY ID|INSTANCE`.
struct Form<'a> {
    mode: Mode,
    id: &'a str,
    instance: &'a str,
}

impl<'a> Form<'a> {
    fn of(username: &'a str) -> Option<Self> {
        let mut parts = username.split('|');
        let mode = match parts.next()? {
            "Signature" => Mode::Signature,
            "Token" => Mode::Token,
            "DeviceCredential" => Mode::DeviceCredential,
            _ => return None,
        };
        let (id, instance) = (parts.next()?, parts.next()?);
        parts.next().is_none().then_some(Self { mode, id, instance })
    }
}

//! Who is kept out, whatever it proves: `[[mqtt.banned]]`.

use std::net::IpAddr;

use super::Identity;
use crate::Network;
use crate::policy::matches_name;

/// A ban: of whoever fits all that it names.
#[derive(Clone, Debug, Default)]
pub struct Ban {
    /// Client identifier; `*` is any text.
    pub client: Option<String>,
    /// User name of the CONNECT; `*` is any text.
    pub user: Option<String>,
    /// Address or network.
    pub address: Option<Network>,
}

/// A ban that can't be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names neither client nor user nor address")]
pub struct BanError;

impl Ban {
    /// Checks that it names somebody.
    ///
    /// # Errors
    /// When it would keep out everybody.
    pub fn check(&self) -> Result<(), BanError> {
        let names_nobody = self.client.is_none() && self.user.is_none() && self.address.is_none();
        if names_nobody { Err(BanError) } else { Ok(()) }
    }

    pub(super) fn fits(&self, client_id: &str, names: &[Option<&str>], address: IpAddr) -> bool {
        let user = |pattern: &String| names.iter().flatten().any(|name| matches_name(pattern, name));
        self.check().is_ok()
            && self.client.as_ref().is_none_or(|pattern| matches_name(pattern, client_id))
            && self.user.as_ref().is_none_or(user)
            && self.address.is_none_or(|network| network.contains(address))
    }

    pub(super) fn fits_identity(&self, who: &Identity) -> bool {
        self.fits(&who.client_id, &[who.username.as_deref(), who.user.as_deref()], who.address)
    }
}

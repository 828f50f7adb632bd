//! The firmware of platforms that is accepted, as the domain's operator has it from the platforms' makers.

use burgrave_types::claims::{HexBytes, TcbStatus};
use serde::Deserialize;

use super::token::Platform;

/// The components that one implementation may run, all together.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Firmware {
    implementation_id: HexBytes,
    /// The platform's configuration; absent, any.
    #[serde(default)]
    platform_configuration: Option<HexBytes>,
    sw_components: Vec<Accepted>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Accepted {
    #[serde(default)]
    component_type: Option<String>,
    measurement_value: HexBytes,
    signer_id: HexBytes,
}

/// A store of reference values in the form of `ccatoken`. What it may say of realms is a registration's to say here.
#[derive(Deserialize)]
struct Store {
    platform: Vec<Firmware>,
}

impl Firmware {
    /// Reads a file: a JSON object whose `platform` is an array of `implementation-id`, `platform-configuration` and
    /// `sw-components` (`component-type`, `measurement-value`, `signer-id`), bytes in hexadecimal. `None` for anything else,
    /// and for one without components.
    pub(crate) fn read_all(json: &[u8]) -> Option<Vec<Self>> {
        let store: Store = serde_json::from_slice(json).ok()?;
        let whole = store.platform.iter().all(|firmware| !firmware.sw_components.is_empty());
        whole.then_some(store.platform)
    }

    /// Whether the platform runs exactly this.
    fn is_of(&self, platform: &Platform<'_>) -> bool {
        let same = |accepted: &Accepted, found: &super::token::Component<'_>| {
            accepted.component_type.as_deref() == found.name
                && accepted.measurement_value.as_bytes() == found.measurement
                && accepted.signer_id.as_bytes() == found.signer
        };
        self.platform_configuration.as_ref().is_none_or(|config| config.as_bytes() == platform.config)
            && self.sw_components.len() == platform.components.len()
            && platform.components.iter().all(|found| self.sw_components.iter().any(|accepted| same(accepted, found)))
            && self.sw_components.iter().all(|accepted| platform.components.iter().any(|found| same(accepted, found)))
    }
}

/// How the platform's firmware stands: up to date where it is accepted, out of date where other firmware is for the same
/// implementation, and nobody's word where nothing is said of it.
pub(super) fn status(accepted: &[Firmware], platform: &Platform<'_>) -> TcbStatus {
    let mut of_implementation =
        accepted.iter().filter(|firmware| firmware.implementation_id.as_bytes() == platform.implementation).peekable();
    if of_implementation.peek().is_none() {
        return TcbStatus::VendorManaged;
    }
    if of_implementation.any(|firmware| firmware.is_of(platform)) { TcbStatus::UpToDate } else { TcbStatus::OutOfDate }
}

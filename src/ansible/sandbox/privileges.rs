//! Rights over the machine: given up for good, before a child's program starts.

use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// After this, whoever runs programs here, root or not, has no special rights, and no program gives any.
pub(super) fn drop() -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    for one in CapabilitySet::all().iter() {
        // Whoever may not do this has none to lose; numbers that the kernel does not know are refused, too.
        let _had_none = remove_capability_from_bounding_set(one);
    }
    set_capabilities(
        None,
        CapabilitySets { effective: CapabilitySet::empty(), permitted: CapabilitySet::empty(), inheritable: CapabilitySet::empty() },
    )
}

//! Parameters of writes to the API server, with jobwarden as the field manager.
//!
//! The field manager names in `metadata.managedFields` who set which field. Without one the API server derives a name from the
//! HTTP client.

use jobwarden_common::names::FIELD_MANAGER;
use kube::api::{PatchParams, PostParams};

/// Parameters of a create or replace.
pub fn post_params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Parameters of a patch.
pub fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

//! What can be asked for a child beside its program, environment and pipes; all of it safe.

/// The attributes of a child.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub(super) process_group: Option<i32>,
    pub(super) gid: Option<u32>,
    pub(super) uid: Option<u32>,
}

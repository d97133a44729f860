//! D22: redrive.

use crate::lab::Lab;
use crate::stop::{CaseResult, Stop};

pub(super) async fn d22_dead_letters_go_back_to_the_group_that_gave_up_on_them(_lab: Lab) -> CaseResult {
    Err(Stop::lacking("convoke has no redrive yet"))
}

//! Checks the loops of a plan: they nest, control enters and leaves them at their ends alone, and memory that is used in a
//! loop and outside of it is alive throughout.

use crate::{Place, Plan, Step};

impl Plan {
    /// # Errors
    /// The first loop that is not sound.
    pub(crate) fn check_loops(&self) -> Result<(), String> {
        let mut open: Vec<(u32, u32)> = Vec::new();
        let mut loops = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let index = index as u32;
            match *step {
                Step::Loop { end, .. } => {
                    let outer = open.last().map_or(self.steps.len() as u32, |&(_, end)| end - 1);
                    if end < index + 2 || end > outer {
                        return Err(format!("the loop at step {index} ends at step {end}"));
                    }
                    open.push((index, end));
                }
                Step::Next { to, .. } => match open.pop() {
                    Some((begin, end)) if begin == to && end == index + 1 => loops.push((begin, index)),
                    _ => return Err(format!("step {index} ends no loop")),
                },
                Step::Branch { otherwise: to, .. } | Step::Jump { to } => {
                    if open.last().is_some_and(|&(_, end)| to >= end) {
                        return Err(format!("step {index} leaves its loop"));
                    }
                }
                Step::Library { .. }
                | Step::Call { .. }
                | Step::Code { .. }
                | Step::Launch { .. }
                | Step::Copy { .. } => {}
            }
        }
        if let Some((begin, _)) = open.first() {
            return Err(format!("the loop at step {begin} has no end"));
        }
        self.check_entries(&loops)?;
        self.check_memory(&loops)
    }

    /// Nothing but the loop itself continues inside of it from outside.
    fn check_entries(&self, loops: &[(u32, u32)]) -> Result<(), String> {
        for (index, step) in self.steps.iter().enumerate() {
            let (Step::Branch { otherwise: to, .. } | Step::Jump { to }) = *step else { continue };
            let index = index as u32;
            let enters = |&&(begin, end): &&(u32, u32)| index < begin && to > begin && to <= end;
            if let Some((begin, _)) = loops.iter().find(enters) {
                return Err(format!("step {index} continues inside of the loop at step {begin}"));
            }
        }
        Ok(())
    }

    fn check_memory(&self, loops: &[(u32, u32)]) -> Result<(), String> {
        for (id, buffer) in self.buffers.iter().enumerate() {
            let Place::Arena { first, last } = buffer.place else { continue };
            let straddles = |&&(begin, end): &&(u32, u32)| {
                let apart = last < begin || first > end;
                let inside = first > begin && last <= end;
                let around = first <= begin && last >= end;
                !(apart || inside || around)
            };
            if let Some((begin, _)) = loops.iter().find(straddles) {
                return Err(format!("buffer {id} is alive in a part of the loop at step {begin}"));
            }
        }
        Ok(())
    }
}

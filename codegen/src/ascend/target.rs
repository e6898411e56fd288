//! What Ascend targets can do.

use crate::target::{AscendTarget, Target};
use ic_types::DType;

impl AscendTarget {
    /// Every target.
    pub const ALL: &[AscendTarget] = &[AscendTarget::A910b, AscendTarget::A310p];

    /// As `--target` and the manifest spell it.
    pub fn name(self) -> &'static str {
        Target::Ascend(self).name()
    }

    /// The vendor compiler's `--target`; `None` where its public release has none.
    pub fn device(self) -> Option<&'static str> {
        match self {
            AscendTarget::A910b => Some("Ascend910B1"),
            AscendTarget::A310p => None,
        }
    }

    /// How many blocks of a vector kernel run side by side.
    pub fn vector_cores(self) -> u32 {
        match self {
            AscendTarget::A910b => 48,
            AscendTarget::A310p => 8,
        }
    }

    /// Fails for element types that kernels cannot hold.
    pub(crate) fn check_dtype(self, dtype: DType) -> Result<(), String> {
        let common = matches!(dtype, DType::F32 | DType::F16 | DType::I64 | DType::I32 | DType::Bool);
        let bf16 = dtype == DType::BF16 && self == AscendTarget::A910b;
        if common || bf16 { Ok(()) } else { Err(format!("element type {dtype}")) }
    }

    /// Fails for element types that the cube unit does not multiply.
    pub(crate) fn check_cube(self, dtype: DType) -> Result<(), String> {
        match (self, dtype) {
            (_, DType::F16) | (AscendTarget::A910b, DType::F32 | DType::BF16) => Ok(()),
            (AscendTarget::A310p, DType::F32) => Err("a contraction of f32, where the cube unit takes f16".into()),
            _ => Err(format!("a contraction of {dtype}")),
        }
    }
}

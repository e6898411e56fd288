//! Tensors as C describes them.

use ic_runtime::{DType, DataRef, TensorView};
use std::ffi::{CStr, c_char, c_void};

/// A dense tensor, row-major.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tensor {
    /// Its name. NULL for an input that is meant by its position.
    pub name: *const c_char,
    /// Element type: IC_F32 and so on.
    pub dtype: u8,
    /// Number of axes.
    pub rank: usize,
    /// Extent of each axis. May be NULL if there are none.
    pub shape: *const i64,
    /// The elements, aligned to their type. May be NULL if there are none.
    pub data: *const c_void,
    /// Number of bytes of the elements.
    pub bytes: usize,
}

/// The text at `text`.
///
/// # Errors
/// If it is null or not UTF-8.
///
/// # Safety
/// Unless null, it ends with a zero byte and lives as long as is asked for.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, String> {
    if text.is_null() {
        return Err(format!("{what} is NULL"));
    }
    // SAFETY: the caller vouches for the text.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| format!("{what} is not UTF-8"))
}

impl Tensor {
    /// The extents, checked.
    ///
    /// # Errors
    /// If they are missing or negative.
    ///
    /// # Safety
    /// `shape` points to `rank` extents unless null.
    pub(crate) unsafe fn extents(&self) -> Result<Vec<usize>, String> {
        if self.rank == 0 {
            return Ok(Vec::new());
        }
        if self.shape.is_null() || !self.shape.is_aligned() {
            return Err("its shape is NULL or misaligned".into());
        }
        // SAFETY: the caller vouches for `rank` extents.
        let extents = unsafe { std::slice::from_raw_parts(self.shape, self.rank) };
        let extent = |&n: &i64| usize::try_from(n).map_err(|_| format!("extent {n} is negative"));
        extents.iter().map(extent).collect()
    }

    /// The tensor of these extents.
    ///
    /// # Errors
    /// If element type, extents and bytes do not fit together.
    ///
    /// # Safety
    /// `data` points to `bytes` initialized bytes unless null, which nobody writes while the view lives.
    pub(crate) unsafe fn view<'a>(&self, extents: &'a [usize]) -> Result<TensorView<'a>, String> {
        let dtype = DType::from_code(self.dtype).ok_or_else(|| format!("there is no element type {}", self.dtype))?;
        let size = dtype.size().filter(|_| !dtype.is_handle()).ok_or("strings are not supported in C")?;
        let len = extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        let bytes = len.and_then(|len| len.checked_mul(size)).filter(|&bytes| bytes <= isize::MAX as usize);
        if bytes != Some(self.bytes) {
            return Err(format!("{} bytes do not make {dtype}{extents:?}", self.bytes));
        }
        if self.data.is_null() && self.bytes > 0 {
            return Err("its data is NULL".into());
        }
        // SAFETY: the caller vouches for the bytes.
        let data = unsafe { elements(dtype, self.data.cast(), self.bytes / size) }?;
        TensorView::from_data(extents, data).ok_or_else(|| "its extents do not fit its data".into())
    }
}

macro_rules! elements {
    ($($variant:ident => $element:ty,)*) => {
        /// `len` elements at `data`.
        ///
        /// # Errors
        /// If they are misaligned, strings, or bytes that are no bools.
        ///
        /// # Safety
        /// `data` points to that many elements' bytes, or there are none.
        unsafe fn elements<'a>(dtype: DType, data: *const u8, len: usize) -> Result<DataRef<'a>, String> {
            match dtype {
                $(DType::$variant => {
                    let data = if len == 0 { std::ptr::NonNull::dangling().as_ptr() } else { data.cast::<$element>().cast_mut() };
                    if !data.is_aligned() {
                        return Err(format!("its data is not aligned to {} bytes", align_of::<$element>()));
                    }
                    // SAFETY: aligned; the caller vouches for the elements, of which every bit pattern is one.
                    Ok(DataRef::$variant(unsafe { std::slice::from_raw_parts(data, len) }))
                })*
                DType::Bool => {
                    let bytes = match len {
                        0 => &[],
                        // SAFETY: the caller vouches for the bytes.
                        _ => unsafe { std::slice::from_raw_parts(data, len) },
                    };
                    if let Some(at) = bytes.iter().position(|&byte| byte > 1) {
                        return Err(format!("element {at} is {}, which is no bool", bytes[at]));
                    }
                    // SAFETY: the bytes are 0 and 1.
                    Ok(DataRef::Bool(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), len) }))
                }
                DType::String | DType::Object => Err("strings are not supported in C".into()),
            }
        }
    };
}

elements! {
    F64 => f64, F32 => f32, F16 => u16, BF16 => u16, F8E4M3FN => u8, F8E4M3FNUZ => u8, F8E5M2 => u8, F8E5M2FNUZ => u8,
    F8E8M0 => u8, F4E2M1 => u8, I64 => i64, I32 => i32, I16 => i16, I8 => i8, I4 => i8, I2 => i8, U64 => u64,
    U32 => u32, U16 => u16, U8 => u8, U4 => u8, U2 => u8, C64 => [f32; 2], C128 => [f64; 2],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IC_BOOL, IC_F32, IC_STRING};

    fn tensor<T>(dtype: u8, shape: &[i64], data: &[T]) -> Tensor {
        let bytes = size_of_val(data);
        let name = std::ptr::null();
        Tensor { name, dtype, rank: shape.len(), shape: shape.as_ptr(), data: data.as_ptr().cast(), bytes }
    }

    /// The tensor as Rust sees it, or why it does not.
    fn check(tensor: Tensor) -> Result<ic_runtime::Tensor, String> {
        // SAFETY: the tests' tensors are borrowed from slices that live long enough, or null.
        unsafe { Ok(tensor.view(&tensor.extents()?)?.to_tensor()) }
    }

    #[test]
    fn tensors_are_taken() {
        let found = check(tensor(IC_F32, &[2, 1], &[1f32, 2.0])).unwrap();
        assert_eq!(found, ic_runtime::Tensor::from_elements(vec![2, 1], vec![1f32, 2.0]));
        assert!(check(Tensor { shape: std::ptr::null(), ..tensor(IC_F32, &[], &[1f32]) }).is_ok());
        assert!(check(Tensor { data: std::ptr::null(), ..tensor::<f32>(IC_F32, &[0], &[]) }).is_ok());
        assert!(check(tensor(IC_BOOL, &[2], &[0u8, 1])).is_ok());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refuse = |tensor: Tensor| check(tensor).unwrap_err();
        assert_eq!(refuse(tensor(IC_F32, &[3], &[1f32, 2.0])), "8 bytes do not make f32[3]");
        assert_eq!(refuse(tensor(IC_F32, &[-1], &[1f32])), "extent -1 is negative");
        assert_eq!(
            refuse(tensor(IC_F32, &[i64::MAX, 4], &[1f32])),
            format!("4 bytes do not make f32[{}, 4]", i64::MAX)
        );
        assert_eq!(refuse(tensor(0, &[1], &[1f32])), "there is no element type 0");
        assert_eq!(refuse(tensor(IC_BOOL, &[2], &[1u8, 2])), "element 1 is 2, which is no bool");
        assert_eq!(refuse(tensor(IC_STRING, &[1], &[0usize])), "strings are not supported in C");
        let some = tensor(IC_F32, &[1], &[1f32]);
        assert_eq!(refuse(Tensor { shape: std::ptr::null(), ..some }), "its shape is NULL or misaligned");
        assert_eq!(refuse(Tensor { data: std::ptr::null(), ..some }), "its data is NULL");
        let odd = Tensor { data: [0u32; 2].as_ptr().cast::<u8>().wrapping_add(1).cast(), ..some };
        assert_eq!(refuse(odd), "its data is not aligned to 4 bytes");
    }
}

//! Dense row-major tensors: owned, as the evaluator uses them, and borrowed, as callers pass them to the runtime.
//!
//! Invariant: the number of elements equals the product of the shape.

use crate::{DType, Object};
use std::collections::TryReserveError;

macro_rules! data {
    ($($variant:ident($element:ty);)*) => {
        /// The elements of an owned tensor. Sub-byte types hold one element per byte; 16-bit and 8-bit floats hold bits.
        #[derive(Clone, PartialEq, Debug)]
        #[expect(missing_docs, reason = "each variant is the element type of its name")]
        pub enum Data {
            $($variant(Vec<$element>),)*
        }

        /// The elements of a borrowed tensor.
        #[derive(Clone, Copy, PartialEq, Debug)]
        #[expect(missing_docs, reason = "each variant is the element type of its name")]
        pub enum DataRef<'a> {
            $($variant(&'a [$element]),)*
        }

        impl Data {
            /// The element type.
            pub fn dtype(&self) -> DType {
                match self { $(Data::$variant(_) => DType::$variant,)* }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(Data::$variant(v) => v.len(),)* }
            }

            /// Whether there are no elements.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// `len` default elements: 0, false or the empty string.
            pub fn zeros(dtype: DType, len: usize) -> Data {
                match dtype { $(DType::$variant => Data::$variant(vec![Default::default(); len]),)* }
            }

            /// Makes the number of elements `len`; new ones are 0, false or the empty string. Memory is kept.
            ///
            /// # Errors
            /// If there is not enough memory.
            pub fn try_resize(&mut self, len: usize) -> Result<(), TryReserveError> {
                match self {
                    $(Data::$variant(v) => {
                        v.try_reserve_exact(len.saturating_sub(v.len()))?;
                        v.resize(len, Default::default());
                    })*
                }
                Ok(())
            }

            /// The address of the first element, for writing. What is written must be elements of the type.
            pub fn as_mut_ptr(&mut self) -> *mut u8 {
                match self { $(Data::$variant(v) => v.as_mut_ptr().cast(),)* }
            }

            /// The elements, borrowed.
            pub fn as_ref(&self) -> DataRef<'_> {
                match self { $(Data::$variant(v) => DataRef::$variant(v),)* }
            }

            /// The elements at `indices`, in their order.
            ///
            /// # Panics
            /// If an index is out of range.
            pub fn gather(&self, indices: impl Iterator<Item = usize>) -> Data {
                match self { $(Data::$variant(v) => Data::$variant(indices.map(|i| v[i].clone()).collect()),)* }
            }

            /// Appends the elements of `other`.
            ///
            /// # Panics
            /// If the element types differ.
            pub fn append(&mut self, other: &Data) {
                match (self, other) {
                    $((Data::$variant(a), Data::$variant(b)) => a.extend_from_slice(b),)*
                    (a, b) => panic!("cannot append {} to {}", b.dtype(), a.dtype()),
                }
            }

            /// Copies element `from` of `source` to element `to`.
            ///
            /// # Panics
            /// If an index is out of range or the element types differ.
            pub fn set(&mut self, to: usize, source: &Data, from: usize) {
                match (self, source) {
                    $((Data::$variant(a), Data::$variant(b)) => a[to].clone_from(&b[from]),)*
                    (a, b) => panic!("cannot store {} in {}", b.dtype(), a.dtype()),
                }
            }
        }

        impl<'a> DataRef<'a> {
            /// The element type.
            pub fn dtype(&self) -> DType {
                match self { $(DataRef::$variant(_) => DType::$variant,)* }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(DataRef::$variant(v) => v.len(),)* }
            }

            /// Whether there are no elements.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The address of the first element.
            pub fn as_ptr(&self) -> *const u8 {
                match self { $(DataRef::$variant(v) => v.as_ptr().cast(),)* }
            }

            /// A copy of the elements.
            pub fn to_owned(&self) -> Data {
                match self { $(DataRef::$variant(v) => Data::$variant(v.to_vec()),)* }
            }
        }
    };
}

data! {
    F64(f64);
    F32(f32);
    F16(u16);
    BF16(u16);
    F8E4M3FN(u8);
    F8E4M3FNUZ(u8);
    F8E5M2(u8);
    F8E5M2FNUZ(u8);
    F8E8M0(u8);
    F4E2M1(u8);
    I64(i64);
    I32(i32);
    I16(i16);
    I8(i8);
    I4(i8);
    I2(i8);
    U64(u64);
    U32(u32);
    U16(u16);
    U8(u8);
    U4(u8);
    U2(u8);
    Bool(bool);
    String(String);
    Object(Object);
    C64([f32; 2]);
    C128([f64; 2]);
}

/// A Rust type that is the natural element of one dtype.
pub trait Element: Clone + Sized {
    /// The dtype of which this is an element.
    const DTYPE: DType;
    /// Wraps elements.
    fn wrap(elements: Vec<Self>) -> Data;
    /// The elements, if they are of this type.
    fn unwrap(data: &Data) -> Option<&[Self]>;
    /// The elements for writing, if they are of this type.
    fn unwrap_mut(data: &mut Data) -> Option<&mut [Self]>;
    /// Wraps borrowed elements.
    fn wrap_ref(elements: &[Self]) -> DataRef<'_>;
}

macro_rules! elements {
    ($($element:ty => $variant:ident,)*) => {$(
        impl Element for $element {
            const DTYPE: DType = DType::$variant;
            fn wrap(elements: Vec<Self>) -> Data { Data::$variant(elements) }
            fn unwrap(data: &Data) -> Option<&[Self]> {
                match data { Data::$variant(v) => Some(v), _ => None }
            }
            fn unwrap_mut(data: &mut Data) -> Option<&mut [Self]> {
                match data { Data::$variant(v) => Some(v), _ => None }
            }
            fn wrap_ref(elements: &[Self]) -> DataRef<'_> { DataRef::$variant(elements) }
        }
    )*};
}

elements! {
    f64 => F64, f32 => F32, i64 => I64, i32 => I32, i16 => I16, i8 => I8,
    u64 => U64, u32 => U32, u16 => U16, u8 => U8, bool => Bool, String => String, Object => Object,
}

/// An owned dense tensor, row-major.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of `shape` with `data`.
    ///
    /// # Panics
    /// If the number of elements is not the product of `shape`.
    pub fn new(shape: Vec<usize>, data: Data) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "elements of a tensor of shape {shape:?}");
        Tensor { shape, data }
    }

    /// A tensor of `shape` with `elements` of a Rust type.
    ///
    /// # Panics
    /// If the number of elements is not the product of `shape`.
    pub fn from_elements<T: Element>(shape: Vec<usize>, elements: Vec<T>) -> Tensor {
        Tensor::new(shape, T::wrap(elements))
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(element: T) -> Tensor {
        Tensor::from_elements(vec![], vec![element])
    }

    /// A tensor of zeros, false or empty strings.
    pub fn zeros(dtype: DType, shape: Vec<usize>) -> Tensor {
        let len = shape.iter().product();
        Tensor { shape, data: Data::zeros(dtype, len) }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The extent of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The shape and the elements.
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }

    /// The elements, for writing.
    pub fn data_mut(&mut self) -> &mut Data {
        &mut self.data
    }

    /// The elements as a Rust type, if they are of it.
    pub fn elements<T: Element>(&self) -> Option<&[T]> {
        T::unwrap(&self.data)
    }

    /// The same elements with another shape.
    ///
    /// # Panics
    /// If the number of elements differs.
    pub fn reshaped(self, shape: Vec<usize>) -> Tensor {
        Tensor::new(shape, self.data)
    }

    /// Makes the shape `shape`, keeping memory; the elements are unspecified.
    ///
    /// # Errors
    /// If there is not enough memory; the tensor is then empty.
    pub fn try_resize(&mut self, shape: &[usize]) -> Result<(), TryReserveError> {
        // A product that does not fit is more than any reservation grants.
        let len = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent)).unwrap_or(usize::MAX);
        self.shape.clear();
        self.shape.push(0);
        if let Err(error) = self.data.try_resize(len) {
            self.data.try_resize(0)?;
            return Err(error);
        }
        self.shape.clear();
        self.shape.extend_from_slice(shape);
        Ok(())
    }

    /// The tensor, borrowed.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { shape: &self.shape, data: self.data.as_ref() }
    }
}

/// A borrowed dense tensor, row-major.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TensorView<'a> {
    shape: &'a [usize],
    data: DataRef<'a>,
}

impl<'a> TensorView<'a> {
    /// A view of `elements` as a tensor of `shape`; `None` if their number is not the product of `shape`.
    pub fn new<T: Element>(shape: &'a [usize], elements: &'a [T]) -> Option<TensorView<'a>> {
        TensorView::from_data(shape, T::wrap_ref(elements))
    }

    /// A view of `data` as a tensor of `shape`; `None` if the number of elements is not the product of `shape`.
    pub fn from_data(shape: &'a [usize], data: DataRef<'a>) -> Option<TensorView<'a>> {
        let len = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))?;
        (len == data.len()).then_some(TensorView { shape, data })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The extent of each axis.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements.
    pub fn data(&self) -> DataRef<'a> {
        self.data
    }

    /// A copy of the tensor.
    pub fn to_tensor(&self) -> Tensor {
        Tensor { shape: self.shape.to_vec(), data: self.data.to_owned() }
    }
}

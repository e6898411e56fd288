//! The macros that make a struct of an artifact.
//!
//! They expand to unsafe code that loads the artifact: what is compiled into a program, or identified by a hash that
//! is, is as trusted as the program's own source.

/// Includes the model that `build.rs` has compiled under this name: a struct of the same name in camel case, with
/// `load`, `load_with` and a method per entry (`run` for the entry `main`), and a struct of outputs for each.
///
/// ```ignore
/// // build.rs
/// fn main() -> Result<(), ic_build::Error> {
///     ic_build::model("mini-lm.onnx").compile()
/// }
///
/// // src/main.rs
/// ic_runtime::include_model!("mini-lm");
///
/// let model = MiniLm::load()?;
/// let outputs = model.run(TensorView::new([1, 3], &[101i64, 2023, 102])?)?;
/// println!("{:?}", outputs.embedding.elements());
/// ```
#[macro_export]
macro_rules! include_model {
    ($name:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $name, ".rs"));
    };
}

/// The struct of an artifact, described by what `ic compile --emit rust` writes. A wrong element type or rank does not
/// compile:
///
/// ```
/// ic_runtime::typed_model! {
///     /// Tells what is written.
///     struct Reader = beside("reader.ica", "c0ffee");
///     /// Runs the entry `main`.
///     fn run = "main" {
///         pixels: f32, 2 = "pixels";
///     } -> ReaderOutputs {
///         digit: i64, 1 = "digit";
///     }
/// }
/// use ic_runtime::typed::TensorView;
///
/// fn read(reader: &Reader) -> Result<i64, ic_runtime::Error> {
///     let outputs = reader.run(TensorView::new([2, 2], &[0.0f32, 1.0, 1.0, 0.0])?)?;
///     Ok(outputs.digit[[0]])
/// }
/// assert!(Reader::load().is_err());
/// ```
///
/// Neither `f64` for `f32`:
///
/// ```compile_fail,E0308
/// # ic_runtime::typed_model! {
/// #     struct Reader = beside("reader.ica", "c0ffee");
/// #     fn run = "main" { pixels: f32, 2 = "pixels"; } -> ReaderOutputs { digit: i64, 1 = "digit"; }
/// # }
/// # use ic_runtime::typed::TensorView;
/// fn read(reader: &Reader) -> Result<i64, ic_runtime::Error> {
///     let outputs = reader.run(TensorView::new([2, 2], &[0.0f64, 1.0, 1.0, 0.0])?)?;
///     Ok(outputs.digit[[0]])
/// }
/// ```
///
/// nor rank 1 for rank 2:
///
/// ```compile_fail,E0308
/// # ic_runtime::typed_model! {
/// #     struct Reader = beside("reader.ica", "c0ffee");
/// #     fn run = "main" { pixels: f32, 2 = "pixels"; } -> ReaderOutputs { digit: i64, 1 = "digit"; }
/// # }
/// # use ic_runtime::typed::TensorView;
/// fn read(reader: &Reader) -> Result<i64, ic_runtime::Error> {
///     let outputs = reader.run(TensorView::new([4], &[0.0f32, 1.0, 1.0, 0.0])?)?;
///     Ok(outputs.digit[[0]])
/// }
/// ```
#[macro_export]
macro_rules! typed_model {
    (
        $(#[$model_doc:meta])*
        struct $model:ident = $form:ident($($source:tt)*);
        $(
            $(#[$entry_doc:meta])*
            fn $method:ident = $entry:literal {
                $($(#[$input_doc:meta])* $input:ident: $input_ty:ty, $input_rank:literal = $input_name:literal;)*
            } -> $outputs:ident {
                $($(#[$output_doc:meta])* $output:ident: $output_ty:ty, $output_rank:literal = $output_name:literal;)*
            }
        )+
    ) => {
        $(#[$model_doc])*
        #[derive(Debug)]
        pub struct $model {
            $($method: $crate::Session,)+
        }

        impl $model {
            /// Loads the artifact, to run on one thread per core.
            ///
            /// # Errors
            /// If the artifact is missing, damaged or does not run on this machine.
            pub fn load() -> ::std::result::Result<Self, $crate::Error> {
                Self::load_with(&$crate::LoadOptions::new(), &$crate::Options::new())
            }

            /// Loads the artifact with options.
            ///
            /// # Errors
            /// If the artifact is missing, damaged or does not run on this machine, or an option cannot be met.
            pub fn load_with(
                load: &$crate::LoadOptions,
                options: &$crate::Options,
            ) -> ::std::result::Result<Self, $crate::Error> {
                let model = $crate::load_artifact!($form, load, $($source)*)?;
                let [$($method),+] = $crate::typed::sessions(&model, [$($entry),+], options)?;
                ::std::result::Result::Ok(Self { $($method),+ })
            }

            $(
                $(#[$entry_doc])*
                ///
                /// # Errors
                /// If extents do not fit, memory runs out, or a kernel refuses its data.
                pub fn $method(
                    &self,
                    $($input: $crate::typed::TensorView<'_, $input_ty, $input_rank>,)*
                ) -> ::std::result::Result<$outputs, $crate::Error> {
                    let mut outputs = self.$method.run(&[$(($input_name, $input.untyped()),)*])?.into_iter();
                    ::std::result::Result::Ok($outputs {
                        $($output: $crate::typed::next_output(&mut outputs, $output_name)?,)*
                    })
                }
            )+
        }

        $(
            /// Results of a run.
            #[derive(Clone, Debug)]
            pub struct $outputs {
                $($(#[$output_doc])* pub $output: $crate::typed::Tensor<$output_ty, $output_rank>,)*
            }
        )+
    };
}

/// Loads an artifact that is in the program or beside it. For [`typed_model!`](crate::typed_model).
#[doc(hidden)]
#[macro_export]
macro_rules! load_artifact {
    (embedded, $options:expr, $($path:tt)*) => {{
        static ARTIFACT: &$crate::typed::Aligned<[u8]> = &$crate::typed::Aligned { bytes: *include_bytes!($($path)*) };
        // SAFETY: the artifact is part of the program.
        unsafe { $crate::Model::from_static(&ARTIFACT.bytes, $options) }
    }};
    (beside, $options:expr, $file:literal, $identity:expr) => {
        // SAFETY: the program was built with the artifact of this identity, and the file is as much part of it as a
        // shared library.
        unsafe { $crate::typed::load_beside($file, option_env!("OUT_DIR"), $identity, $options) }
    };
}

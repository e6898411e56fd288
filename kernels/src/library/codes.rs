//! The numbers that stand for modes in kernels' attributes.
//!
//! A number never changes its meaning: plans hold it.

use crate::abi::KernelError;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $text:literal;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$variant_doc])* $variant = $code,)*
        }

        impl $name {
            /// Every mode, by code.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The number in attributes.
            pub fn code(self) -> i64 {
                self as i64
            }

            /// The mode with this number.
            pub fn from_code(code: i64) -> Result<Self, KernelError> {
                match code {
                    $($code => Ok($name::$variant),)*
                    _ => Err(KernelError(format!("expected the code of a {}, found {code}", stringify!($name)))),
                }
            }

            /// The mode that ONNX spells `text`.
            pub fn from_onnx(text: &str) -> Option<Self> {
                match text {
                    $($text => Some($name::$variant),)*
                    _ => None,
                }
            }
        }
    )*};
}

codes! {
    /// How a scatter combines an update with the element it meets (ONNX `reduction`).
    ScatterReduction {
        /// The update replaces the element.
        None = 0, "none";
        /// Sum.
        Add = 1, "add";
        /// Product.
        Mul = 2, "mul";
        /// Larger.
        Max = 3, "max";
        /// Smaller.
        Min = 4, "min";
    }

    /// Channels of a decoded image (ONNX `pixel_format`).
    PixelFormat {
        /// Red, green, blue.
        Rgb = 0, "RGB";
        /// Blue, green, red.
        Bgr = 1, "BGR";
        /// Brightness.
        Grayscale = 2, "Grayscale";
    }

    /// A reduction over axes; the spelling is ONNX's operator.
    Reduction {
        /// Sum.
        Sum = 0, "ReduceSum";
        /// Arithmetic mean.
        Mean = 1, "ReduceMean";
        /// Product.
        Prod = 2, "ReduceProd";
        /// Largest element.
        Max = 3, "ReduceMax";
        /// Smallest element.
        Min = 4, "ReduceMin";
        /// Sum of magnitudes.
        L1 = 5, "ReduceL1";
        /// Root of the sum of squares.
        L2 = 6, "ReduceL2";
        /// Sum of squares.
        SumSquare = 7, "ReduceSumSquare";
        /// Logarithm of the sum.
        LogSum = 8, "ReduceLogSum";
        /// Logarithm of the sum of exponentials.
        LogSumExp = 9, "ReduceLogSumExp";
    }

    /// Which element `arg_reduce` finds.
    ArgReduction {
        /// The largest.
        Max = 0, "ArgMax";
        /// The smallest.
        Min = 1, "ArgMin";
    }

    /// What `cumulative` accumulates.
    Cumulation {
        /// Running sum.
        Sum = 0, "CumSum";
        /// Running product.
        Prod = 1, "CumProd";
    }

    /// What `pad` writes outside of its input (ONNX `mode`).
    PadMode {
        /// A constant.
        Constant = 0, "constant";
        /// The input mirrored at its first and last element.
        Reflect = 1, "reflect";
        /// The nearest element.
        Edge = 2, "edge";
        /// The input repeated.
        Wrap = 3, "wrap";
    }

    /// How `resize` interpolates (ONNX `mode`).
    ResizeMode {
        /// One element.
        Nearest = 0, "nearest";
        /// Two elements an axis.
        Linear = 1, "linear";
        /// Four elements an axis.
        Cubic = 2, "cubic";
    }

    /// Where an output element of `resize` lies in the input (ONNX `coordinate_transformation_mode`).
    CoordinateMode {
        /// `(x + 0.5) / scale - 0.5`.
        HalfPixel = 0, "half_pixel";
        /// `x / scale`.
        Asymmetric = 1, "asymmetric";
        /// `x * (input - 1) / (output - 1)`.
        AlignCorners = 2, "align_corners";
        /// `half_pixel`, or 0 where the output has one element.
        PytorchHalfPixel = 3, "pytorch_half_pixel";
        /// `half_pixel`, centred on the exact output length.
        HalfPixelSymmetric = 4, "half_pixel_symmetric";
        /// Inside the region of interest.
        TfCropAndResize = 5, "tf_crop_and_resize";
        /// `(x + 0.5) / scale`, of opset 10 models for TensorFlow.
        TfHalfPixelForNn = 6, "tf_half_pixel_for_nn";
    }

    /// Which neighbour nearest interpolation takes (ONNX `nearest_mode`).
    NearestMode {
        /// The nearer; the left one of two.
        RoundPreferFloor = 0, "round_prefer_floor";
        /// The nearer; the right one of two.
        RoundPreferCeil = 1, "round_prefer_ceil";
        /// The left one.
        Floor = 2, "floor";
        /// The right one.
        Ceil = 3, "ceil";
    }

    /// How `grid_sample` interpolates (ONNX `mode`).
    GridMode {
        /// Two elements an axis.
        Linear = 0, "linear";
        /// One element, ties to even.
        Nearest = 1, "nearest";
        /// Four elements an axis.
        Cubic = 2, "cubic";
    }

    /// What `grid_sample` reads outside of its input (ONNX `padding_mode`).
    GridPadding {
        /// Zeros.
        Zeros = 0, "zeros";
        /// The nearest element.
        Border = 1, "border";
        /// The input mirrored.
        Reflection = 2, "reflection";
    }

    /// How `roi_align` combines the samples of a bin (ONNX `mode`).
    RoiMode {
        /// Mean.
        Avg = 0, "avg";
        /// Largest weighted sample.
        Max = 1, "max";
    }

    /// How trees put the weights of leaves together (ONNX `aggregate_function`).
    TreeFunction {
        /// Sum.
        Sum = 0, "SUM";
        /// Least.
        Min = 1, "MIN";
        /// Largest.
        Max = 2, "MAX";
    }

    /// Which way a recurrent layer runs (ONNX `direction`).
    Direction {
        /// From the first step.
        Forward = 0, "forward";
        /// From the last step.
        Reverse = 1, "reverse";
        /// Both, concatenated.
        Bidirectional = 2, "bidirectional";
    }

    /// An activation of a recurrent layer.
    Activation {
        /// `1 / (1 + e^-x)`.
        Sigmoid = 0, "Sigmoid";
        /// Hyperbolic tangent.
        Tanh = 1, "Tanh";
        /// `max(x, 0)`.
        Relu = 2, "Relu";
        /// `alpha x + beta`.
        Affine = 3, "Affine";
        /// `x` if positive, else `alpha x`.
        LeakyRelu = 4, "LeakyRelu";
        /// `x` if not below `alpha`, else 0.
        ThresholdedRelu = 5, "ThresholdedRelu";
        /// `alpha tanh(beta x)`.
        ScaledTanh = 6, "ScaledTanh";
        /// `min(max(alpha x + beta, 0), 1)`.
        HardSigmoid = 7, "HardSigmoid";
        /// `x` if not negative, else `alpha (e^x - 1)`.
        Elu = 8, "Elu";
        /// `x / (1 + |x|)`.
        Softsign = 9, "Softsign";
        /// `log(1 + e^x)`.
        Softplus = 10, "Softplus";
    }

    /// How `cast` to an exponent-only float rounds (ONNX `round_mode`).
    RoundMode {
        /// Away from zero.
        Up = 0, "up";
        /// Towards zero.
        Down = 1, "down";
        /// To the nearest, ties up.
        Nearest = 2, "nearest";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for &mode in Reduction::ALL {
            assert_eq!(Reduction::from_code(mode.code()), Ok(mode));
        }
        assert!(Reduction::from_code(99).is_err());
        assert_eq!(PadMode::from_onnx("wrap"), Some(PadMode::Wrap));
    }
}

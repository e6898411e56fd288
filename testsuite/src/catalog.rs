//! Real trained models that ship inside packages. Nothing here is committed; see [`crate::fetch`].

/// Where a model's files come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The sources of a crate: needs cargo alone.
    Crate {
        /// The crate.
        name: &'static str,
        /// Its exact version.
        version: &'static str,
    },
    /// A wheel: needs Python's pip.
    Wheel {
        /// `name==version`.
        requirement: &'static str,
    },
}

/// One file of a package.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Model {
    /// The name by which tests and tasks call it.
    pub name: &'static str,
    /// The package.
    pub source: Source,
    /// The path inside the package.
    pub path: &'static str,
}

const MAGIKA: Source = Source::Crate { name: "magika", version: "1.1.0" };
const SILERO_CRATE: Source = Source::Crate { name: "silero", version: "0.7.0" };
const SILERO: Source = Source::Wheel { requirement: "silero-vad==6.2.3" };
const PPOCR: Source = Source::Wheel { requirement: "rapidocr-onnxruntime==1.4.4" };
const NUDENET: Source = Source::Wheel { requirement: "nudenet==3.4.2" };
const DDDDOCR: Source = Source::Wheel { requirement: "ddddocr==1.6.1" };

/// Every model. The test of real models iterates this table.
pub const MODELS: &[Model] = &[
    Model { name: "magika", source: MAGIKA, path: "src/model.onnx" },
    Model { name: "silero", source: SILERO_CRATE, path: "models/silero_vad.onnx" },
    Model { name: "silero_ifless", source: SILERO, path: "silero_vad/data/silero_vad_op18_ifless.onnx" },
    Model { name: "silero_16k", source: SILERO, path: "silero_vad/data/silero_vad_16k_op15.onnx" },
    Model { name: "ppocr_det", source: PPOCR, path: "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx" },
    Model { name: "ppocr_rec", source: PPOCR, path: "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx" },
    Model { name: "ppocr_cls", source: PPOCR, path: "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx" },
    Model { name: "yolov8n", source: NUDENET, path: "nudenet/320n.onnx" },
    Model { name: "ddddocr", source: DDDDOCR, path: "ddddocr/common.onnx" },
];

/// The model called `name`.
pub fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

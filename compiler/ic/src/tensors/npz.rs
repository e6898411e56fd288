//! NumPy `.npz` archives: arrays by name.

use super::TensorFileError;
use ic_types::{DType, Data, Tensor};
use npyz::{NpyFile, Order, WriteOptions, WriterBuilder};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// How the files of an archive end, after the names of the arrays.
const EXTENSION: &str = ".npy";

/// Elements from which on an array may take 4 GiB.
const LARGE: usize = 1 << 28;

/// Longest string that is read, in code points.
const MAX_WIDTH: usize = 1 << 20;

/// The arrays of an archive, in name order.
///
/// # Errors
/// If the file is not an archive of arrays of supported element types.
pub fn read_npz(path: &Path) -> Result<Vec<(String, Tensor)>, TensorFileError> {
    let error = |e: &dyn std::fmt::Display| TensorFileError::new(path, e);
    let file = File::open(path).map_err(|e| error(&e))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| error(&e))?;
    let names = archive.file_names().filter_map(|name| name.strip_suffix(EXTENSION));
    let mut names: Vec<String> = names.map(String::from).collect();
    names.sort();
    let mut tensors = Vec::with_capacity(names.len());
    for name in names {
        let entry =
            archive.by_name(&format!("{name}{EXTENSION}")).map_err(|e| error(&format!("array `{name}`: {e}")))?;
        let tensor = NpyFile::new(entry).and_then(read_array).map_err(|e| error(&format!("array `{name}`: {e}")))?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

fn read_array<R: Read>(file: NpyFile<R>) -> std::io::Result<Tensor> {
    let shape: Vec<usize> = file.shape().iter().map(|&d| d as usize).collect();
    if file.order() == Order::Fortran && shape.len() > 1 {
        return Err(std::io::Error::other("the array is in Fortran order; save it with numpy.ascontiguousarray"));
    }
    let descr = file.dtype().descr();
    let kind = descr.trim_matches('\'').trim_start_matches(['<', '|', '=']).to_string();
    let data = match kind.as_str() {
        "f8" => Data::F64(file.into_vec()?),
        "f4" => Data::F32(file.into_vec()?),
        "f2" => Data::F16(file.into_vec::<half::f16>()?.into_iter().map(half::f16::to_bits).collect()),
        "i8" => Data::I64(file.into_vec()?),
        "i4" => Data::I32(file.into_vec()?),
        "i2" => Data::I16(file.into_vec()?),
        "i1" => Data::I8(file.into_vec()?),
        "u8" => Data::U64(file.into_vec()?),
        "u4" => Data::U32(file.into_vec()?),
        "u2" => Data::U16(file.into_vec()?),
        "u1" => Data::U8(file.into_vec()?),
        "b1" => Data::Bool(file.into_vec()?),
        // Of fixed width, ended by zeros.
        text if text.starts_with(['U', 'S']) && text[1..].parse().is_ok_and(|width: usize| width <= MAX_WIDTH) => {
            Data::String(file.into_vec()?)
        }
        _ => return Err(std::io::Error::other(format!("element type {descr} is not supported"))),
    };
    let elements = shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
    if elements != Some(data.len()) {
        return Err(std::io::Error::other("the array is shorter than its shape"));
    }
    Ok(Tensor::new(shape, data))
}

/// Writes arrays to an archive. The file appears when it is complete.
///
/// # Errors
/// If the file cannot be written, or an element type has no NumPy form.
pub fn write_npz(path: &Path, tensors: &[(&str, &Tensor)]) -> Result<(), TensorFileError> {
    let error = |e: &dyn std::fmt::Display| TensorFileError::new(path, e);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder).map_err(|e| error(&e))?;
    {
        let mut archive = ZipWriter::new(BufWriter::new(file.as_file()));
        for (name, tensor) in tensors {
            // As NumPy writes them; sizes of 4 GiB and more need wider fields.
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(tensor.data().len() >= LARGE);
            archive.start_file(format!("{name}{EXTENSION}"), options).map_err(|e| error(&e))?;
            write_array(&mut archive, tensor).map_err(|e| error(&format!("array `{name}`: {e}")))?;
        }
        archive.finish().and_then(|mut writer| Ok(writer.flush()?)).map_err(|e| error(&e))?;
    }
    file.persist(path).map_err(|e| error(&e.error))?;
    Ok(())
}

fn write_array(to: &mut impl Write, tensor: &Tensor) -> std::io::Result<()> {
    let shape: Vec<u64> = tensor.shape().iter().map(|&d| d as u64).collect();
    macro_rules! write {
        ($elements:expr) => {{
            let mut writer = WriteOptions::new().default_dtype().shape(&shape).writer(to).begin_nd()?;
            writer.extend($elements)?;
            writer.finish()
        }};
    }
    match tensor.data() {
        Data::F64(v) => write!(v),
        Data::F32(v) => write!(v),
        Data::F16(v) => write!(v.iter().map(|&bits| half::f16::from_bits(bits))),
        // NumPy has no bfloat16: widening is exact.
        Data::BF16(v) => write!(v.iter().map(|&bits| ic_types::bf16_to_f32(bits))),
        Data::I64(v) => write!(v),
        Data::I32(v) => write!(v),
        Data::I16(v) => write!(v),
        Data::I8(v) | Data::I4(v) | Data::I2(v) => write!(v),
        Data::U64(v) => write!(v),
        Data::U32(v) => write!(v),
        Data::U16(v) => write!(v),
        Data::U8(v) | Data::U4(v) | Data::U2(v) => write!(v),
        Data::Bool(v) => write!(v),
        Data::String(v) => {
            let width = v.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
            let dtype = format!("<U{width}").parse().map_err(std::io::Error::other)?;
            let options = WriteOptions::new().dtype(npyz::DType::Plain(dtype)).shape(&shape);
            let mut writer = options.writer(to).begin_nd()?;
            writer.extend(v)?;
            writer.finish()
        }
        data => Err(std::io::Error::other(format!("element type {} has no NumPy form", DType::name(data.dtype())))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texts.npz");
        let texts = ["a", "", "über", "日本"].map(String::from).to_vec();
        let tensor = Tensor::from_elements(vec![2, 2], texts);
        let empty = Tensor::from_elements(vec![0], Vec::<String>::new());
        write_npz(&path, &[("x", &tensor), ("y", &empty)]).unwrap();
        assert_eq!(read_npz(&path).unwrap(), [("x".into(), tensor), ("y".into(), empty)]);
    }
}

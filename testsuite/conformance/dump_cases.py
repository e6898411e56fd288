"""Write every case of the ONNX backend suite of the installed `onnx` package to disk, in the suite's own layout.

usage: dump_cases.py FOLDER
"""

import json
import pathlib
import shutil
import sys
import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

warnings.filterwarnings("ignore")


def to_proto(value, type_proto, name):
    if isinstance(value, (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto)):
        return value
    kind = type_proto.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.from_list(value, name)
    if kind == "optional_type":
        return numpy_helper.from_optional(value, name)
    return numpy_helper.from_array(np.asarray(value), name)


def kind_of(proto):
    return {onnx.TensorProto: "tensor", onnx.SequenceProto: "sequence"}.get(type(proto), "optional")


def write_case(folder, case):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    graph = case.model.graph
    kinds = {"inputs": [], "outputs": []}
    for k, (inputs, outputs) in enumerate(case.data_sets):
        data = folder / f"test_data_set_{k}"
        data.mkdir(exist_ok=True)
        for role, declared, values in (("input", graph.input, inputs), ("output", graph.output, outputs)):
            protos = [to_proto(value, port.type, port.name) for value, port in zip(values, declared)]
            kinds[role + "s"] = [kind_of(proto) for proto in protos]
            for i, (proto, port) in enumerate(zip(protos, declared)):
                proto.name = port.name
                (data / f"{role}_{i}.pb").write_bytes(proto.SerializeToString())
    (folder / "case.json").write_text(json.dumps({"rtol": case.rtol, "atol": case.atol, **kinds}))


def main():
    out = pathlib.Path(sys.argv[1])
    for case in collect_testcases(None):
        write_case(out / "node" / case.name, case)
    data = pathlib.Path(onnx.__file__).parent / "backend/test/data"
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for case in sorted((data / kind).iterdir()):
            if (case / "model.onnx").is_file():
                shutil.copytree(case, out / kind / case.name, dirs_exist_ok=True)
                (out / kind / case.name / "case.json").write_text(json.dumps({"rtol": 1e-3, "atol": 1e-7}))


main()

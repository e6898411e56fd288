"""Models of one op, whose operands can be given another element type: taken from the cases of the ONNX backend suite, and
made here for the ops that have none."""

import collections
import dataclasses
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F, I = TensorProto.FLOAT, TensorProto.INT64


@dataclasses.dataclass
class Template:
    """A model with one node beside the constants, and values of its inputs: arrays, lists of arrays, or None."""

    model: onnx.ModelProto
    values: list


def of_suite(cases):
    """(domain, op) -> templates, the smallest models first."""
    found = collections.defaultdict(list)
    for path in sorted(cases.glob("node/*/model.onnx")):
        if "_expanded" in path.parent.name:
            continue
        model = onnx.load(path)
        nodes = [node for node in model.graph.node if node.op_type != "Constant"] or list(model.graph.node)
        if len(nodes) == 1 and not model.functions:
            domain = "" if nodes[0].domain == "ai.onnx" else nodes[0].domain
            found[domain, nodes[0].op_type].append(path.parent)
    return {key: [read(case) for case in few(cases)] for key, cases in found.items()}


def few(cases, n=6):
    """At most `n` of the cases, evenly spaced: their names begin with what is common."""
    return [cases[i * len(cases) // n] for i in range(n)] if len(cases) > n else cases


def read(case):
    model, data = onnx.load(case / "model.onnx"), case / "test_data_set_0"
    kinds = json.loads((case / "case.json").read_text())["inputs"]
    return Template(model, [load(data / f"input_{i}.pb", kind) for i, kind in enumerate(kinds)])


def load(path, kind):
    content = path.read_bytes()
    if kind == "sequence":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind == "optional":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(TensorProto.FromString(content))


def floats(*shape):
    return (np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) % 7) - 2


def info(name, value):
    if isinstance(value, list):
        return helper.make_tensor_sequence_value_info(name, helper.np_dtype_to_tensor_dtype(value[0].dtype), None)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def tensor(dtype, rank=None):
    return helper.make_tensor_type_proto(dtype, None if rank is None else [None] * rank)


def made(op, domain, values, results, **attributes):
    """A template of `op`: `results` are the types of its outputs."""
    names = [f"x{i}" for i in range(len(values))]
    outputs = [helper.make_value_info(f"y{i}", ty) for i, ty in enumerate(results)]
    node = helper.make_node(op, names, [o.name for o in outputs], domain=domain, **attributes)
    inputs = [info(name, value) for name, value in zip(names, values)]
    return Template(helper.make_model(helper.make_graph([node], op, inputs, outputs)), values)


def by_hand():
    """(domain, op) -> a template for the ops without a case of their own."""
    ml, x, i = "ai.onnx.ml", floats(3, 4), lambda *v: np.array(v, np.int64)
    sequence = helper.make_sequence_type_proto(tensor(F))
    xs = [floats(2, 3), floats(1, 3)]
    support = dict(kernel_type="RBF", kernel_params=[0.5, 0.0, 3.0], coefficients=[1.0, -0.5], rho=[0.1])
    lengths = i(2, 1).astype(np.int32)
    cell = lambda gates: [floats(2, 2, 3), floats(1, gates * 2, 3), floats(1, gates * 2, 2), floats(1, gates * 4), lengths]
    recurrent = lambda op, gates: made(op, "", cell(gates), [tensor(F, 4)], hidden_size=2)
    templates = [
        recurrent("RNN", 1),
        recurrent("GRU", 3),
        recurrent("LSTM", 4),
        made("LabelEncoder", ml, [x], [tensor(F, 2)], keys_floats=[1.0, 2.0], values_floats=[3.0, 4.0]),
        made("LabelEncoder", ml, [i(1, 5)], [tensor(TensorProto.STRING, 1)], keys_int64s=[1, 2], values_strings=["a", "b"]),
        made("LinearClassifier", ml, [x], [tensor(TensorProto.STRING, 1), tensor(F, 2)],
             classlabels_strings=["a", "b", "c"], coefficients=[0.5, -0.25, 1.0, 2.0] * 3, intercepts=[0.0, 1.0, -1.0]),
        made("MaxPool", "", [floats(1, 1, 4, 4)], [tensor(F, 4), tensor(I, 4)], kernel_shape=[2, 2]),
        made("SVMRegressor", ml, [x], [tensor(F, 2)], n_supports=2, support_vectors=list(map(float, range(8))), **support),
        made("SVMClassifier", ml, [x], [tensor(I, 1), tensor(F, 2)], vectors_per_class=[1, 1], classlabels_ints=[0, 1],
             support_vectors=list(map(float, range(8))), **support),
        made("LinearClassifier", ml, [x], [tensor(I, 1), tensor(F, 2)], classlabels_ints=[0, 1, 2],
             coefficients=[0.5, -0.25, 1.0, 2.0] * 3, intercepts=[0.0, 1.0, -1.0], multi_class=1),
        made("LinearRegressor", ml, [x], [tensor(F, 2)], coefficients=[0.5, -0.25, 1.0, 2.0], intercepts=[0.5]),
        made("TreeEnsembleRegressor", ml, [x], [tensor(F, 2)], **TREE, **one_tree("target", 0, 0)),
        made("TreeEnsembleClassifier", ml, [x], [tensor(I, 1), tensor(F, 2)], classlabels_int64s=[0, 1], **TREE,
             **one_tree("class", 0, 1)),
        made("Scaler", ml, [x], [tensor(F, 2)], offset=[1.0, 2.0, 3.0, 4.0], scale=[0.5]),
        made("Normalizer", ml, [x], [tensor(F, 2)], norm="L2"),
        made("Imputer", ml, [x], [tensor(F, 2)], imputed_value_floats=[1.0], replaced_value_float=0.0),
        made("Imputer", ml, [i(1, 2, 3).reshape(1, 3)], [tensor(I, 2)], imputed_value_int64s=[1], replaced_value_int64=2),
        made("OneHotEncoder", ml, [i(1, 2, 3)], [tensor(F, 2)], cats_int64s=[1, 3], zeros=1),
        made("OneHotEncoder", ml, [np.array(["1", "4"], object)], [tensor(F, 2)], cats_strings=["1", "3"], zeros=1),
        made("FeatureVectorizer", ml, [x, floats(3, 2)], [tensor(F, 2)], inputdimensions=[4, 2]),
        made("CategoryMapper", ml, [np.array(["a", "b"], object)], [tensor(I, 1)], cats_strings=["a", "b"],
             cats_int64s=[1, 2]),
        made("CategoryMapper", ml, [i(1, 3)], [tensor(TensorProto.STRING, 1)], cats_strings=["a", "b"], cats_int64s=[1, 2]),
        made("MaxRoiPool", "", [floats(1, 2, 6, 6), np.array([[0, 0, 0, 3, 3]], np.float32)], [tensor(F, 4)],
             pooled_shape=[2, 2]),
        made("GlobalLpPool", "", [floats(1, 2, 3, 3)], [tensor(F, 4)], p=2),
        made("Upsample", "", [floats(1, 1, 2, 2), np.array([1, 1, 2, 2], np.float32)], [tensor(F, 4)]),
        made("RandomNormal", "", [], [tensor(F, 2)], shape=[3, 4], seed=1.0),
        made("RandomUniform", "", [], [tensor(F, 2)], shape=[3, 4], seed=1.0),
        made("RandomNormalLike", "", [x], [tensor(F, 2)], seed=1.0, dtype=F),
        made("RandomUniformLike", "", [x], [tensor(F, 2)], seed=1.0, dtype=F),
        made("Multinomial", "", [x], [tensor(TensorProto.INT32, 2)], sample_size=3, seed=1.0),
        made("Optional", "", [x], [helper.make_optional_type_proto(tensor(F))]),
        made("Optional", "", [xs], [helper.make_optional_type_proto(sequence)]),
        made("SequenceConstruct", "", xs, [sequence]),
        made("SequenceEmpty", "", [], [sequence], dtype=F),
        made("SequenceLength", "", [xs], [tensor(I, 0)]),
        made("SequenceAt", "", [xs, np.array(1)], [tensor(F)]),
        made("SequenceErase", "", [xs, np.array(0)], [sequence]),
        made("ConcatFromSequence", "", [xs], [tensor(F, 2)], axis=0),
        made("ZipMap", ml, [x], [helper.make_sequence_type_proto(helper.make_map_type_proto(I, tensor(F)))],
             classlabels_int64s=[0, 1, 2, 3]),
    ]
    found = collections.defaultdict(list)
    for template in templates:
        node = template.model.graph.node[0]
        found[node.domain, node.op_type].append(template)
    return found


TREE = dict(nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2], nodes_featureids=[1, 0, 0], nodes_values=[0.5, 0.0, 0.0],
            nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0])


def one_tree(role, first, second):
    leaves = {"treeids": [0, 0], "nodeids": [1, 2], "ids": [first, second], "weights": [1.0, 2.0]}
    named = {f"{role}_{key}": value for key, value in leaves.items()}
    return named | ({"n_targets": 1} if role == "target" else {})

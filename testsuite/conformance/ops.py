"""Write which ops take which element types: every op that the installed `onnx` package has a schema for, with every type
that the schema allows for each of its type variables, compiled and verified against the reference evaluation.

usage: ops.py CASES IC TABLE PAGE [ONLY]

CASES is what dump_cases.py writes, TABLE a file with a line `DOMAIN OP` for each op of the importer's table (`-` for
ai.onnx), PAGE the Markdown file to write. A wrong result or a crash fails the run.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, defs, helper, numpy_helper

import one_op

warnings.filterwarnings("ignore")
TENSOR = re.compile(r"(.*)tensor\((\w+)\)(.*)")
# A unit in the last place, as a share: results may be rounded otherwise than the evaluation's.
ULPS = {"float16": 2**-9, "bfloat16": 2**-6, "float8e4m3fn": 0.15, "float8e4m3fnuz": 0.15, "float8e5m2": 0.3,
        "float8e5m2fnuz": 0.3, "float4e2m1": 0.5, "float8e8m0": 1.1}
# What tells a result's type.
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "output_datatype", "stash_type")
# What an op without type variables is tried with.
FIXED = "its own types"
HEAD = """# Operators

Which ops `ic` compiles for CPUs, and for which element types.
This page is written by `cargo xtask ops`, from the importer's table and from {models} models of one op: each op for which `onnx` {version} has a schema, with each type that the schema allows for each of its type variables, the other variables as in a case of the ONNX backend suite.
A type is in the column "yes" where such models compile and their results are those of the reference evaluation, and otherwise among the refused, with the compiler's reason.
Older versions of the ops are imported too.

{n_ops} ops, {yes} pairs of a variable and a type: {n_yes} yes, {n_no} refused.
"""


class Invalid(Exception):
    """The type cannot be put into a template."""


def elem_type(name):
    return TensorProto.DataType.Value(name.upper())


def shape_of(type_string):
    """`seq(tensor(float))` -> (`seq(…)`, `float`)."""
    match = TENSOR.fullmatch(type_string)
    return (match[1] + "…" + match[3], match[2]) if match else (type_string, None)


def type_string(proto):
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return f"tensor({TensorProto.DataType.Name(proto.tensor_type.elem_type).lower()})"
    if kind == "sequence_type":
        return f"seq({type_string(proto.sequence_type.elem_type)})"
    if kind == "optional_type":
        return f"optional({type_string(proto.optional_type.elem_type)})"
    return "map"


def retype(proto, old, new):
    """Gives tensors in a type another element type, where they have the old one or `old` is None."""
    kind = proto.WhichOneof("value")
    if kind == "tensor_type" and old in (None, proto.tensor_type.elem_type):
        proto.tensor_type.elem_type = new
    elif kind in ("sequence_type", "optional_type"):
        retype(getattr(proto, kind).elem_type, old, new)


def convert(value, dtype):
    if value is None:
        return None
    if isinstance(value, list):
        return [convert(v, dtype) for v in value]
    value = np.asarray(value)
    if dtype == "string":
        return np.vectorize(str, otypes=[object])(value)
    if value.dtype.kind in "OSU":
        value = np.array([len(str(v)) for v in value.ravel()]).reshape(value.shape)
    if value.dtype.kind == "c":
        value = value.real
    if dtype.startswith("uint") or dtype == "float8e8m0":
        value = np.abs(value.astype(np.float64))
    if value.dtype.kind == "f" and "float" not in dtype and dtype not in ("double", "complex64", "complex128"):
        value = np.nan_to_num(value)
    return value.astype(helper.tensor_dtype_to_np_dtype(elem_type(dtype)))


def converted_tensor(proto, dtype):
    return numpy_helper.from_array(convert(numpy_helper.to_array(proto), dtype), proto.name)


def bound(formals, actuals):
    """Names with the schema's formal parameter of each."""
    for k, name in enumerate(actuals):
        if name and formals:
            yield name, formals[min(k, len(formals) - 1)]


def retype_graph(graph, old, dtype):
    """A nested graph: all tensors of the old type."""
    for value in [*graph.input, *graph.output, *graph.value_info]:
        retype(value.type, old, elem_type(dtype))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR and attribute.t.data_type == old:
                attribute.t.CopyFrom(converted_tensor(attribute.t, dtype))
            if attribute.type == AttributeProto.GRAPH:
                retype_graph(attribute.g, old, dtype)


def set_result_type(node, schema, dtype):
    """Where the result's type is told by an attribute."""
    for name in TYPE_ATTRIBUTES:
        if name in schema.attributes:
            for k in reversed([k for k, a in enumerate(node.attribute) if a.name == name]):
                del node.attribute[k]
            node.attribute.append(helper.make_attribute(name, elem_type(dtype)))
            return
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.type == AttributeProto.TENSOR:
            attribute.t.CopyFrom(converted_tensor(attribute.t, dtype))
            return
    raise Invalid


def with_type(template, schema, variable, wanted, everywhere):
    """The template's model, with inputs, where the variable is the wanted type, or whatever had its type is."""
    form, dtype = shape_of(wanted)
    if wanted == FIXED:
        return template.model, template.values
    if dtype is None:
        raise Invalid
    model = onnx.ModelProto.FromString(template.model.SerializeToString())
    graph, values = model.graph, list(template.values)
    node = next((n for n in graph.node if n.op_type == schema.name), graph.node[0])
    declared = {v.name: v for v in [*graph.input, *graph.output]}
    inputs = {name for name, formal in bound(schema.inputs, node.input) if formal.type_str == variable}
    outputs = {name for name, formal in bound(schema.outputs, node.output) if formal.type_str == variable}
    names = [n for n in [*inputs, *outputs] if n in declared]
    if names and not any(shape_of(type_string(declared[n].type))[0] == form for n in names):
        raise Invalid
    is_so = bool(names) and all(type_string(declared[n].type) == wanted for n in names)
    if not inputs and not is_so and not everywhere:
        set_result_type(node, schema, dtype)
    nested = [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
    if everywhere and names:
        old = elem_type(shape_of(type_string(declared[names[0]].type))[1])
        names = list(declared)
        inputs = set(node.input)
        for g in nested:
            retype_graph(g, old, dtype)
    else:
        old = None
    for name in names:
        retype(declared[name].type, old, elem_type(dtype))
    for k, value in enumerate(graph.input):
        if value.name in names and values[k] is not None and shape_of(type_string(value.type))[1] == dtype:
            values[k] = convert(values[k], dtype)
    for t in graph.initializer:
        if t.name in inputs and old in (None, t.data_type):
            t.CopyFrom(converted_tensor(t, dtype))
    for other in graph.node:
        if other.op_type == "Constant" and other is not node and other.output[0] in inputs and not everywhere:
            set_result_type(other, defs.get_schema("Constant"), dtype)
    if model.graph.name == "":
        model.graph.name = schema.name
    set_version(model, schema)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        # The function of some schemas does not pass the checker itself.
        if "(op_type:Constant)" not in str(error):
            raise Invalid from error
    return model, values


def set_version(model, schema):
    """The newest version of the domain at which the schema holds."""
    newest = defs.onnx_opset_version() if schema.domain == "" else schema.since_version
    while defs.get_schema(schema.name, newest, schema.domain).since_version != schema.since_version or (
            defs.get_schema(schema.name, newest, schema.domain).deprecated):
        newest -= 1
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid(schema.domain, newest))
    if schema.domain:
        model.opset_import.append(helper.make_opsetid("", defs.onnx_opset_version()))
    model.ir_version = 13 if newest > 24 or schema.domain else model.ir_version


def proto_of(value, declared):
    if declared.type.WhichOneof("value") == "optional_type":
        return numpy_helper.from_optional(value, declared.name)
    if isinstance(value, list):
        return numpy_helper.from_list(value, declared.name)
    return numpy_helper.from_array(np.asarray(value), declared.name)


def run(*args):
    try:
        return subprocess.run([str(a) for a in args], capture_output=True, text=True, errors="replace", timeout=60)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(args, 2, "", "took longer than a minute")


def judge(ic, model, values, tolerance):
    """`yes`, or how and why not."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        onnx.save(model, folder / "model.onnx")
        for k, (value, declared) in enumerate(zip(values, model.graph.input)):
            (folder / f"input_{k}.pb").write_bytes(proto_of(value, declared).SerializeToString())
        done = run(ic, "compile", folder / "model.onnx", "-o", folder / "model.ica")
        if done.returncode:
            return ("refused" if done.returncode == 1 else "crashed"), reason(done.stderr)
        done = run(ic, "verify", folder / "model.onnx", folder / "model.ica", "--inputs", folder, "--tolerance", tolerance)
        if "cannot be evaluated" in done.stderr:
            done = run(ic, "run", folder / "model.ica", "--inputs", folder)
        if "cannot decode the image" in done.stderr:
            return "refused", reason(done.stderr)
        if done.returncode:
            return "wrong", (done.stdout + done.stderr)[-300:]
        return "yes", ""


def reason(text):
    """What the first error says, without names of the model."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = next((line for line in lines if line.startswith("error")), lines[-1] if lines else "")
    note = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("= note:")), "")
    first = re.sub(r"^error(\[\w+\])?: ", "", first)
    return re.sub(r"\s+", " ", f"{first}{': ' + note if note else ''}").replace("|", "\\|")


def attempt(task):
    ic, schema, variable, wanted, templates = task
    verdicts, n = {}, 0
    for template, everywhere in [(t, e) for e in (False, True) for t in templates]:
        if everywhere and n:
            break
        try:
            model, values = with_type(template, schema, variable, wanted, everywhere)
        except (Invalid, ValueError, TypeError, OverflowError, AttributeError, KeyError):
            continue
        types = "".join(type_string(v.type) for v in [*model.graph.input, *model.graph.output])
        tolerance = max([ulp for name, ulp in ULPS.items() if f"({name})" in types] + [1e-3])
        verdict, why = judge(ic, model, values, tolerance)
        verdicts.setdefault(verdict, why)
        n += 1
        if n == 3:
            break
    return verdicts, n


def pairs_of(ic, found, only):
    """What to try: (compiler, schema, variable, type, templates)."""
    for schema in sorted(defs.get_all_schemas(), key=lambda s: (s.domain, s.name)):
        if only and only != schema.name:
            continue
        if schema.deprecated:
            versions = [s for s in defs.get_all_schemas_with_history() if (s.domain, s.name) == (schema.domain, schema.name)]
            schema = max((s for s in versions if not s.deprecated), key=lambda s: s.since_version, default=schema)
        if not schema.type_constraints:
            yield ic, schema, "", FIXED, found.get((schema.domain, schema.name), [])
        for constraint in schema.type_constraints:
            for wanted in sorted(constraint.allowed_type_strs, key=order):
                yield ic, schema, constraint.type_param_str, wanted, found.get((schema.domain, schema.name), [])


ORDER = ("float double float16 bfloat16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool float8e4m3fn float8e4m3fnuz "
         "float8e5m2 float8e5m2fnuz float8e8m0 float4e2m1 int4 uint4 int2 uint2 string complex64 complex128").split()


def order(type_name):
    form, dtype = shape_of(type_name)
    return len(form), form, ORDER.index(dtype) if dtype in ORDER else 99, type_name


def short(type_name):
    return re.sub(r"^tensor\((\w+)\)$", r"\1", type_name).replace("tensor(", "").replace("))", ")")


def row(schema, variable, outcomes, known):
    yes, no = [], collections.defaultdict(list)
    for wanted, (verdicts, n) in outcomes:
        if "yes" in verdicts:
            yes.append(short(wanted) + (" (in part)" if "refused" in verdicts else ""))
        elif (schema.domain, schema.name) not in known:
            no["not in the importer's table"].append(short(wanted))
        elif n == 0:
            no["maps are not supported" if "map(" in wanted else "not tried, as no case can be given this type"].append(short(wanted))
        else:
            no[verdicts.get("refused") or "wrong"].append(short(wanted))
    refused = "; ".join(f"{' '.join(types)}: {why}" for why, types in no.items())
    name = (schema.domain + "." if schema.domain else "") + schema.name
    return f"| {name} | {schema.since_version} | {variable} | {' '.join(yes)} | {refused} |"


def known_ops(path):
    rows = [line.split() for line in path.read_text().splitlines()]
    return {("" if domain == "-" else domain, op) for domain, op in rows}


def page(results, known, n_models):
    n_yes = sum("yes" in verdicts for _, _, outcomes in results for _, (verdicts, _) in outcomes)
    n_all = sum(len(outcomes) for _, _, outcomes in results)
    n_ops = len({(s.domain, s.name) for s, _, _ in results})
    head = HEAD.format(models=n_models, version=onnx.__version__, n_ops=n_ops, yes=n_all, n_yes=n_yes, n_no=n_all - n_yes)
    lines = [head, "| op | since version | variable | yes | refused |", "| --- | --- | --- | --- | --- |"]
    lines += [row(schema, variable, outcomes, known) for schema, variable, outcomes in results]
    schemas = {(s.domain, s.name) for s in defs.get_all_schemas()}
    lines += ["", "## Ops without a schema", "", "Of other domains, and older than the schemas:", ""]
    lines += [f"- {domain + '.' if domain else ''}{op}" for domain, op in sorted(known - schemas)]
    return "\n".join(lines) + "\n"


def main():
    cases, ic, table, out = (pathlib.Path(a) for a in sys.argv[1:5])
    only = sys.argv[5] if len(sys.argv) > 5 else ""
    found = one_op.of_suite(cases)
    for key, templates in one_op.by_hand().items():
        found.setdefault(key, []).extend(templates)
    tasks = list(pairs_of(ic, found, only))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(attempt, tasks))
    grouped = {}
    for (_, schema, variable, wanted, _), outcome in zip(tasks, outcomes):
        key = (schema.domain, schema.name, variable)
        grouped.setdefault(key, (schema, variable, []))[2].append((wanted, outcome))
    text = page(list(grouped.values()), known_ops(table), sum(n for _, n in outcomes))
    if only:
        print(text)
    else:
        out.write_text(text)
    bad = 0
    for (_, schema, variable, wanted, _), (verdicts, _) in zip(tasks, outcomes):
        for verdict in ("wrong", "crashed"):
            if verdict in verdicts:
                bad += 1
                print(f"{verdict}: {schema.name} {variable} = {wanted}: {verdicts[verdict]}")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()

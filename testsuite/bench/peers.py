"""Another runtime as a worker process that obeys lines of JSON.

usage: peers.py PEER THREADS

    {"load": MODEL.onnx, "inputs": FILE.npz, "fixed": BOOL}     answered by {"load_s": SECONDS}
    {"run": SECONDS}                                            runs for that long, at least twice; answered by a list of times
    {"outputs": FILE.npz}                                       writes outputs by name; answered by {}

What fails is answered by {"error": TEXT}. `fixed` gives the runtime the extents of the inputs when it loads the model. What a
runtime prints goes to standard error. The peers are the functions in `PEERS`: of a model's path, inputs by name, a number of
threads and `fixed`, each gives names of outputs, a function that runs the model once, and one that makes arrays of its result.
"""

import json
import os
import sys
import time

import numpy as np


def symbols(path, feeds):
    """Values of the symbolic extents of a model's inputs; not of names that stand for several, as `?` may."""
    import onnx

    found = {}
    for port in onnx.load(path, load_external_data=False).graph.input:
        if port.name in feeds:
            for dim, extent in zip(port.type.tensor_type.shape.dim, feeds[port.name].shape):
                if dim.dim_param.isidentifier():
                    found.setdefault(dim.dim_param, set()).add(extent)
    return {name: extents.pop() for name, extents in found.items() if len(extents) == 1}


def onnxruntime(path, feeds, threads, fixed):
    import onnxruntime as ort

    def session(extents):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        for name, extent in extents.items():
            options.add_free_dimension_override_by_name(name, extent)
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    try:
        found = session(symbols(path, feeds) if fixed else {})
    except Exception:
        # It refuses fixed extents that branches of a model contradict.
        found = session({})
    names = [port.name for port in found.get_outputs()]
    if all(port.type.startswith("tensor(") and "string" not in port.type for port in found.get_outputs()):
        # Values that it owns: no copies of inputs, no dictionaries.
        binding = found.io_binding()
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value))
        for name in names:
            binding.bind_output(name)

        def bound():
            found.run_with_iobinding(binding)
            return binding

        return names, bound, lambda binding: binding.copy_outputs_to_cpu()
    return names, lambda: found.run(None, feeds), lambda values: values


def reference(path, feeds, threads, fixed):
    """ONNX Runtime without optimizations, whose integer products do not saturate: what outputs are compared with."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    found = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [port.name for port in found.get_outputs()], lambda: found.run(None, feeds), lambda values: values


def openvino(path, feeds, threads, fixed):
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    if fixed:
        model.reshape({name: openvino.PartialShape(list(value.shape)) for name, value in feeds.items()})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    tensors = {name: openvino.Tensor(value) for name, value in feeds.items()}

    def run():
        request.infer(tensors, share_inputs=True)

    n = len(compiled.outputs)
    return [port.get_any_name() for port in model.outputs], run, lambda _: [request.get_output_tensor(i).data for i in range(n)]


def tract(path, feeds, threads, fixed):
    import tract as library

    model = library.onnx().load(path)
    order = [model.input_name(i) for i in range(model.input_count())]
    short = {"float16": "f16", "float32": "f32", "float64": "f64"}
    for i, name in enumerate(order):
        value = feeds[name]
        dtype = short.get(value.dtype.name) or value.dtype.name.replace("uint", "u").replace("int", "i")
        model.set_input_fact(i, ",".join([*map(str, value.shape), dtype]))
    names = [model.output_name(i) for i in range(model.output_count())]
    runnable = model.into_model().into_runnable()
    values = [feeds[name] for name in order]
    return names, lambda: runnable.run(values), lambda results: [result.to_numpy() for result in results]


# tract has no setting for threads.
ONE_THREAD = ["tract"]
PEERS = {"onnxruntime": onnxruntime, "openvino": openvino, "tract": tract, "reference": reference}


class Worker:
    def __init__(self, peer, threads):
        self.peer, self.threads = peer, threads

    def obey(self, order):
        if "load" in order:
            start = time.perf_counter()
            feeds = dict(np.load(order["inputs"]))
            self.names, self.run, self.read = PEERS[self.peer](order["load"], feeds, self.threads, order["fixed"])
            return {"load_s": time.perf_counter() - start}
        if "run" in order:
            times, end = [], time.perf_counter() + order["run"]
            while len(times) < 2 or time.perf_counter() < end:
                start = time.perf_counter()
                self.run()
                times.append(time.perf_counter() - start)
            return times
        values = [np.asarray(value) for value in self.read(self.run())]
        np.savez(order["outputs"], **dict(zip(self.names, values)))
        return {}


def main():
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin:
        try:
            reply = worker.obey(json.loads(line))
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()

"""Layers of two MLPerf Tiny models as the TensorFlow Lite kernels compute them.

    python make_mlperf.py DIR > mlperf.json

DIR is `mlperf-tiny` with its `golden/`: outputs of every operator by the TensorFlow Lite Micro reference
kernels (two roundings). Beside them the same layer by LiteRT (`ai-edge-litert`), run here with its
reference kernels on the same case: its FULLY_CONNECTED rounds once, its convolutions twice. Weights are handed over in our order, [O, rows, columns, I].
"""

import base64
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

CASE = 0  # of those whose layers were kept; the fourth of all inputs: uniform
PICKED = {"kws_ref_model": [0, 1, 11], "ad01_int8": [4, 5]}  # operators in graph order


def text(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def main():
    root = Path(sys.argv[1])
    out = {"ai-edge-litert": version("ai-edge-litert"), "layers": []}
    for model, picked in PICKED.items():
        manifest = json.loads((root / "golden" / f"{model}.json").read_text())
        runtime = Interpreter(
            str(root / f"{model}.tflite"),
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        runtime.allocate_tensors()
        details = {d["index"]: d for d in runtime.get_tensor_details()}
        ops = [op for op in runtime._get_ops_details() if op["op_name"] != "DELEGATE"]
        layers = manifest["layers"]
        case = layers["cases"][CASE]
        shape = manifest["input"]["shape"]
        inputs = np.fromfile(root / "golden" / f"{model}.inputs.bin", np.int8).reshape(-1, *shape[1:])
        blob = np.fromfile(root / "golden" / layers["file"], np.int8)
        blob = blob[CASE * layers["bytes_per_case"] :]
        runtime.set_tensor(runtime.get_input_details()[0]["index"], inputs[case : case + 1])
        runtime.invoke()

        def micro(k):
            if k < 0:
                return inputs[case]
            t = layers["tensors"][k]
            return blob[t["offset"] : t["offset"] + t["bytes"]].reshape(t["shape"])

        for k in picked:
            op, tensor = ops[k], layers["tensors"][k]
            assert op["op_name"] == tensor["op"], (op, tensor)
            x, w, b = op["inputs"][:3]
            y = op["outputs"][0]
            weight = runtime.get_tensor(w)
            channel = 0
            if tensor["op"] == "DEPTHWISE_CONV_2D":
                weight = weight.transpose(3, 1, 2, 0)
            elif tensor["op"] == "FULLY_CONNECTED":
                weight = weight.reshape(weight.shape[0], 1, 1, -1)
            scale = lambda i: [float(s) for s in details[i]["quantization_parameters"]["scales"]]
            zero = lambda i: int(details[i]["quantization_parameters"]["zero_points"][0])
            assert not details[w]["quantization_parameters"]["zero_points"].any()
            out["layers"].append({
                "name": f"{model} {k} {tensor['op']}",
                "in_shape": [int(n) for n in details[x]["shape"]],
                "out_shape": [int(n) for n in details[y]["shape"]],
                "weight_shape": list(weight.shape),
                "weight": text(weight),
                "bias": [int(v) for v in runtime.get_tensor(b)],
                "zeros": [zero(x), zero(y)],
                "scales": [scale(x)[0], scale(w), scale(y)[0]],
                "micro": [text(micro(k - 1)), text(micro(k))],
                "litert": [text(runtime.get_tensor(x)), text(runtime.get_tensor(y))],
            })
    print(json.dumps(out, separators=(",", ":")))


main()

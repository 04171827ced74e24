"""The towers of a `CLIPModel` as ONNX graphs with int8 products, one scale per token."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_scoring.errors import SettingsInvalid, WeightsInvalid

_CONTRIB = "com.microsoft"
_OPSETS = {"": 20, _CONTRIB: 1}
_IR_VERSION = 10
_WEIGHT_LEVELS = 63
"""Seven bits: AVX2 without VNNI adds pairs of products in 16 bits, which eight would overflow."""
_TOKEN_LEVELS = 127
_ZERO = 128
_LARGEST_FILE = 2**31 - 2**20
"""Protocol buffers end at 2 GiB."""
_SMALLEST_SCALE = 1e-12
_LAST = 2**31 - 1
_ACTIVATIONS = {"gelu": ("Gelu", {}), "quick_gelu": ("QuickGelu", {"alpha": 1.702})}


def extra(module: str) -> Any:
    """A module of the optional extra `int8`; raises SettingsInvalid where it is absent."""
    try:
        return import_module(module)
    except ImportError as absent:
        raise SettingsInvalid(
            f"dtype int8 needs {module}, which is not installed: pip install 'clip-scoring[int8]'"
        ) from absent


def image_graph(model: Any) -> bytes:
    """ONNX: `input` float32 (B, 3, H, W), normalised, to `output` float32 (B, D), projected."""
    graph, tower = _Graph(), model.vision_model
    config, embeddings = tower.config, tower.embeddings
    width, patch = config.hidden_size, config.patch_size
    # Patches stay float32: a few hundredths of the work, and every error here reaches all layers.
    kernel = graph.constant(embeddings.patch_embedding.weight)
    patches = graph.op("Conv", "input", kernel, strides=[patch, patch])
    patches = graph.op("Reshape", patches, graph.constant(np.array([0, width, -1])))
    patches = graph.op("Transpose", patches, perm=[0, 2, 1])
    places = _array(embeddings.position_embedding.weight)
    patches = graph.op("Add", patches, graph.constant(places[1:]))
    first = (_array(embeddings.class_embedding) + places[0]).reshape(1, 1, width)
    shape = graph.op(
        "Concat", graph.op("Shape", patches, end=1), graph.constant(np.array([1, width])), axis=0
    )
    firsts = graph.op("Expand", graph.constant(first), shape)
    tokens = graph.op("Concat", firsts, patches, axis=1)
    pooled = _encode(
        graph,
        _normalised(graph, tokens, tower.pre_layrnorm),
        _Tower(tower.encoder.layers, tower.post_layernorm, config, pooled=(0, 1), causal=False),
    )
    (output,) = _products(graph, pooled, model.visual_projection)
    size = config.image_size
    return graph.model(output, "FLOAT", ["batch", config.num_channels, size, size])


def caption_graph(model: Any) -> bytes:
    """ONNX: `input` int64 (B, T), pooled at its last token, to `output` float32 (B, D)."""
    graph, tower = _Graph(), model.text_model
    words = graph.constant(tower.embeddings.token_embedding.weight)
    places = graph.constant(tower.embeddings.position_embedding.weight)
    start, axis = graph.constant(np.array([0])), graph.constant(np.array([0]))
    length = graph.op("Shape", "input", start=1, end=2)
    tokens = graph.op(
        "Add",
        graph.op("Gather", words, "input"),
        graph.op("Slice", places, start, length, axis),
    )
    layers, norm = tower.encoder.layers, tower.final_layer_norm
    pooled = _encode(
        graph, tokens, _Tower(layers, norm, tower.config, pooled=(-1, _LAST), causal=True)
    )
    (output,) = _products(graph, pooled, model.text_projection)
    return graph.model(output, "INT64", ["batch", "length"])


@dataclass(frozen=True, slots=True)
class _Tower:
    """The transformer of one tower; `pooled` is the slice of its tokens that is the result."""

    layers: Any
    last_norm: Any
    config: Any
    pooled: tuple[int, int]
    causal: bool


class _Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self) -> None:
        self._helper, self._proto = extra("onnx.helper"), extra("onnx").TensorProto
        self._arrays = extra("onnx.numpy_helper")
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._bytes = 0

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The name of the only output of a new node."""
        return self.ops(kind, *inputs, outputs=(0,), domain=domain, **attributes)[0]

    def ops(
        self, kind: str, *inputs: str, outputs: tuple[int, ...], domain: str, **attributes: Any
    ) -> list[str]:
        """The names of the wanted outputs of a new node, by their places."""
        names = [""] * (max(outputs) + 1)
        for place in outputs:
            names[place] = f"{kind}_{len(self._nodes)}_{place}"
        node = self._helper.make_node(kind, list(inputs), names, domain=domain, **attributes)
        self._nodes.append(node)
        return [names[place] for place in outputs]

    def constant(self, values: Any) -> str:
        """The name of a new constant: an array or a tensor."""
        array = np.ascontiguousarray(_array(values))
        self._bytes += array.nbytes
        name = f"constant_{len(self._constants)}"
        self._constants.append(self._arrays.from_array(array, name))
        return name

    def model(self, output: str, kind: str, shape: list[int | str]) -> bytes:
        """The serialised model from `input` of this type and shape to `output`."""
        if self._bytes > _LARGEST_FILE:
            raise WeightsInvalid(f"a tower of {self._bytes:,} bytes is too large for int8")
        self._nodes.append(self._helper.make_node("Identity", [output], ["output"]))
        graph = self._helper.make_graph(
            self._nodes,
            "tower",
            [self._helper.make_tensor_value_info("input", getattr(self._proto, kind), shape)],
            [self._helper.make_tensor_value_info("output", self._proto.FLOAT, None)],
            self._constants,
        )
        opsets = [self._helper.make_opsetid(*opset) for opset in _OPSETS.items()]
        model = self._helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        serialised: bytes = model.SerializeToString(deterministic=True)
        return serialised


def _encode(graph: _Graph, tokens: str, tower: _Tower) -> str:
    """Pre-norm transformer layers; only the pooled token goes through all of the last one."""
    layers = list(tower.layers)
    norms = [*(layer.layer_norm1 for layer in layers[1:]), tower.last_norm]
    kind, attributes = _activation(tower.config.hidden_act)
    normed, residual = _normalised(graph, tokens, layers[0].layer_norm1), tokens
    for layer, next_norm in zip(layers, norms, strict=True):
        seen = normed
        if last := layer is layers[-1]:
            normed = _slice(graph, normed, tower.pooled)
            residual = _slice(graph, residual, tower.pooled)
        causal = tower.causal and not last  # the last token sees every other
        attended = _attention(graph, normed, seen, layer=layer.self_attn, causal=causal)
        normed, residual = _added(
            graph, attended, residual, bias=layer.self_attn.out_proj.bias, norm=layer.layer_norm2
        )
        (inner,) = _products(graph, normed, layer.mlp.fc1)
        inner = graph.op("Add", inner, graph.constant(layer.mlp.fc1.bias))
        inner = graph.op(kind, inner, domain=_CONTRIB, **attributes)
        (inner,) = _products(graph, inner, layer.mlp.fc2)
        normed, residual = _added(graph, inner, residual, bias=layer.mlp.fc2.bias, norm=next_norm)
    return graph.op("Squeeze", normed, graph.constant(np.array([1])))


def _attention(graph: _Graph, asking: str, seen: str, *, layer: Any, causal: bool) -> str:
    """Attention of the tokens `asking` to the tokens `seen`, without the last bias."""
    if asking == seen:
        query, key, value = _products(graph, seen, layer.q_proj, layer.k_proj, layer.v_proj)
    else:
        (query,) = _products(graph, asking, layer.q_proj)
        key, value = _products(graph, seen, layer.k_proj, layer.v_proj)
    biases = [_array(projection.bias) for projection in (layer.q_proj, layer.k_proj, layer.v_proj)]
    attended = graph.op(
        "MultiHeadAttention",
        *(query, key, value, graph.constant(np.concatenate(biases))),
        domain=_CONTRIB,
        num_heads=layer.num_heads,
        unidirectional=int(causal),
    )
    return _products(graph, attended, layer.out_proj)[0]


def _products(graph: _Graph, tokens: str, *linears: Any) -> list[str]:
    """Each token times the weights of each `Linear`, without bias, float32.

    A token is rounded to integers by its own largest magnitude: no neighbour can change it, and
    sums of integers are exact, so that neither batch nor thread count changes a bit.
    """
    largest = graph.op(
        "ReduceMax", graph.op("Abs", tokens), graph.constant(np.array([-1])), keepdims=1
    )
    scale = graph.op("Mul", largest, graph.constant(np.array([1 / _TOKEN_LEVELS], np.float32)))
    scale = graph.op("Max", scale, graph.constant(np.array([_SMALLEST_SCALE], np.float32)))
    one, zero = graph.constant(np.float32(1)), graph.constant(np.uint8(_ZERO))
    codes = graph.op("QuantizeLinear", graph.op("Div", tokens, scale), one, zero)
    names = []
    for linear in linears:
        weights, per_channel = _rounded(_array(linear.weight))
        inputs = (codes, graph.constant(weights), one, graph.constant(per_channel), zero)
        product = graph.op("MatMulIntegerToFloat", *inputs, domain=_CONTRIB)
        names.append(graph.op("Mul", product, scale))
    return names


def _rounded(weight: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers (in, out) and the scale of each output channel (out,) for weights (out, in)."""
    largest = np.abs(weight).max(axis=1)
    if not np.isfinite(largest).all():
        raise WeightsInvalid("weights with NaN or infinity have no int8 form")
    scales = np.maximum(largest / _WEIGHT_LEVELS, _SMALLEST_SCALE).astype(np.float32)
    codes = np.rint(weight / scales[:, None]).clip(-_WEIGHT_LEVELS, _WEIGHT_LEVELS)
    return codes.T.astype(np.int8), scales


def _added(graph: _Graph, branch: str, residual: str, *, bias: Any, norm: Any) -> tuple[str, str]:
    """The sum of branch, bias and residual: normalised, and as it is."""
    constants = [graph.constant(array) for array in (norm.weight, norm.bias, bias)]
    normed, total = graph.ops(
        "SkipLayerNormalization",
        *(branch, residual, *constants),
        outputs=(0, 3),
        domain=_CONTRIB,
        epsilon=norm.eps,
    )
    return normed, total


def _normalised(graph: _Graph, tokens: str, norm: Any) -> str:
    weight, bias = graph.constant(norm.weight), graph.constant(norm.bias)
    return graph.op("LayerNormalization", tokens, weight, bias, epsilon=norm.eps)


def _slice(graph: _Graph, tokens: str, piece: tuple[int, int]) -> str:
    start, stop, axis = (graph.constant(np.array([bound])) for bound in (*piece, 1))
    return graph.op("Slice", tokens, start, stop, axis)


def _activation(name: str) -> tuple[str, dict[str, float]]:
    if name not in _ACTIVATIONS:
        raise WeightsInvalid(f"hidden_act {name!r} has no int8 form: {' or '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def _array(values: Any) -> NDArray[Any]:
    return values.detach().numpy() if hasattr(values, "detach") else np.asarray(values)

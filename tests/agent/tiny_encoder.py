"""A tiny text encoder in the form of real ones: a network in ONNX, and a tokenizer.json."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ("[PAD]", "[S]", "[E]", "one", "arm", "moves", "up", "down")
TABLE = np.random.default_rng(3).normal(size=(len(WORDS), 6)).astype(np.float32)


def tokenizer(words: tuple[str, ...] = WORDS, *, ends: bool = True) -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=words[0]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if ends:
        made.post_processor = processors.TemplateProcessing("[S] $A [E]", special_tokens=[("[S]", 1), ("[E]", 2)])
    return made


def network(
    outputs: tuple[str, ...] = ("last_hidden_state",),
    inputs: tuple[str, ...] = ("input_ids", "attention_mask"),
    length: int | str = "length",
    kind: int = TensorProto.INT64,
) -> onnx.ModelProto:
    """A table of embeddings; what is pooled (rank 2) is the last token's vector."""
    hidden, pooled = [1, length, 6], [1, 6]
    nodes, declared = [helper.make_node("Gather", ["table", inputs[0]], ["vectors"])], []
    nodes.append(helper.make_node("Gather", ["vectors", "last"], ["end"], axis=1))
    for name in outputs:
        per_token = name in ("last_hidden_state", "token_embeddings")
        nodes.append(helper.make_node("Identity", ["vectors" if per_token else "end"], [name]))
        declared.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, hidden if per_token else pooled))
    initial = [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.int64(-1), "last")]
    taken = [helper.make_tensor_value_info(name, kind, [1, length]) for name in inputs]
    graph = helper.make_graph(nodes, "g", taken, declared, initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

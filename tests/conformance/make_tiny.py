"""Make a tiny, random chat model with a tokenizer, without downloading anything: `make_tiny.py FOLDER`."""

import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = "system user assistant a short question about nothing much and an answer to it"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main(folder: str) -> None:
    torch.manual_seed(0)
    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512, show_progress=False, special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokens.train_from_iterator([WORDS] * 8, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<|pad|>", eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=None,
            eos_token_id=end, pad_token_id=pad, tie_word_embeddings=False, initializer_range=0.2,
        )
    )  # fmt: skip
    # The server samples only where the model's own settings say so.
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, eos_token_id=end, pad_token_id=pad
    )
    model.save_pretrained(folder)


main(sys.argv[1])

"""Checkpoints of a few thousand parameters, written with transformers."""

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|end|>"
ROWS = 320
"""Rows of the embeddings, more than the tokenizer has ids, as in most published checkpoints."""


@cache
def trained_tokenizer(words="the cat sat on a mat def return x = y for i in range print"):
    """Return a byte-level BPE."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator([words], trainer)
    return backend


def write_tokenizer(folder, backend=None):
    from transformers import PreTrainedTokenizerFast

    backend = backend or trained_tokenizer()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END).save_pretrained(folder)


def config_of(kind, **changes):
    """Return a configuration with dropout, which probes must switch off."""
    from transformers import GPTNeoXConfig, LlamaConfig

    common = {
        "vocab_size": ROWS,
        "num_hidden_layers": 2,
        "max_position_embeddings": 64,
        "attention_dropout": 0.3,
    }
    if kind == "llama":
        own = {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "tie_word_embeddings": True,
        }
        return LlamaConfig(**(common | own | changes))
    own = {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_attention_heads": 2,
        "hidden_dropout": 0.3,
    }
    return GPTNeoXConfig(**(common | own | changes))


def write_checkpoint(folder, kind, *, dtype="float32", **changes):
    """Write a model with random weights of a fixed seed, and its tokenizer; return the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    from probes.models.pretrained import transformers_quietly

    with transformers_quietly(), torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config_of(kind, **changes))
        model.to(getattr(torch, dtype)).save_pretrained(folder)
        write_tokenizer(folder)
    return folder

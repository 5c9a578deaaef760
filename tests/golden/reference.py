"""Reference models from transformers, built from a config.json dictionary and seen under this project's names.

A model's parameters are seen through `views`: our name -> (parameter, function that cuts our tensor out of anything
of the parameter's shape). The same function serves values (it returns a view that can be written) and gradients.
"""

import math
from contextlib import contextmanager, nullcontext

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from fill import fill

CLASSES = {
    "deepseek_v2": ("DeepseekV2Config", "DeepseekV2ForCausalLM"),
    "deepseek_v3": ("DeepseekV3Config", "DeepseekV3ForCausalLM"),
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel"),
}

# Spread of each weight relative to 1/sqrt(inputs). The down-projections are small, so that the eps of the norms
# behind them is visible; the queries are large, so that attention is far from uniform.
GAINS = {"kv_a_proj_with_mqa": 0.1, "q_a_proj": 0.1, "q_b_proj": 3.0, "q_proj": 2.0}


@contextmanager
def double_precision():
    """transformers computes norms, rotations, softmax and loss in float32 whatever the model's type; inside this
    block those names mean double."""
    saved = torch.float32, torch.float, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = saved


class OnlyDouble(TorchDispatchMode):
    """Fails when an operation gives single precision: then the reference would not be what it says."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == SINGLE:
            raise AssertionError(f"{func} ran in single precision")
        return out


SINGLE = torch.float32


def build(config):
    """A model in evaluation mode with eager attention; `config` is a dictionary as in config.json."""
    config_class, model_class = CLASSES[config["model_type"]]
    latent = config["model_type"].startswith("deepseek")
    ours = set() if latent else {"attention", "rope_interleave", "qkv_bias", "qk_norm"}
    settings = {k: v for k, v in config.items() if k not in ours | {"architectures", "model_type"}}
    if config["model_type"] == "gpt2":
        settings = gpt2_settings(config)
    hf = getattr(transformers, config_class)(attn_implementation="eager", **settings)
    return getattr(transformers, model_class)(hf).eval()


def gpt2_settings(config):
    """transformers' keys for GPT-2 from ours, which are those of the other models."""
    return {
        "vocab_size": config["vocab_size"], "n_positions": config["max_position_embeddings"],
        "n_embd": config["hidden_size"], "n_layer": config["num_hidden_layers"],
        "n_head": config["num_attention_heads"], "n_inner": config["intermediate_size"],
        "activation_function": config["hidden_act"], "layer_norm_epsilon": config["layer_norm_eps"],
        "tie_word_embeddings": config["tie_word_embeddings"], "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip


def views(model):
    """Our name -> (parameter, cut). A tied output projection appears once, as the embedding."""
    parameters = dict(model.named_parameters())
    if model.config.model_type != "gpt2":
        return {name: (p, lambda t: t) for name, p in parameters.items()}
    out = {}
    for name, p in parameters.items():
        for ours, cut in gpt2_cuts(name, model.config.n_embd):
            out[ours] = (p, cut)
    return out


def gpt2_cuts(name, width):
    """GPT-2 stores [in, out] and joins q, k, v; we store [out, in] and keep them apart."""
    simple = {"wte": "embed_tokens", "wpe": "embed_positions", "ln_f": "norm", "ln_1": "input_layernorm",
              "ln_2": "post_attention_layernorm"}  # fmt: skip
    parts = name.removeprefix("transformer.").split(".")
    prefix = "model." + (f"layers.{parts[1]}." if parts[0] == "h" else "")
    module, kind = ".".join(parts[2:-1] if parts[0] == "h" else parts[:-1]), parts[-1]
    if module in simple:
        return [(f"{prefix}{simple[module]}.{kind}", lambda t: t)]
    if module == "attn.c_attn":
        return [(f"{prefix}self_attn.{x}_proj.{kind}", lambda t, i=i: t[..., i * width : (i + 1) * width].t())
                for i, x in enumerate("qkv")]  # fmt: skip
    linear = {"attn.c_proj": "self_attn.o_proj", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}[module]
    return [(f"{prefix}{linear}.{kind}", lambda t: t.t())]


def fill_rule(name, shape):
    """(offset, scale) of a parameter's fill: gains near 1, biases near 0, weights by their number of inputs."""
    module = name.split(".")[-2]
    if name.endswith(".bias"):
        return 0.0, 0.1
    if "norm" in module:
        return 1.0, 0.2
    if module in ("embed_tokens", "embed_positions"):
        return 0.0, 1.0
    return 0.0, GAINS.get(module, 1.0) * math.sqrt(3.0 / shape[-1])


def set_weights(model, prefix=""):
    """Fills every parameter from its name; returns our name -> (offset, scale)."""
    rules = {}
    with torch.no_grad():
        for name, (parameter, cut) in views(model).items():
            target = cut(parameter.data)
            offset, scale = rules[name] = fill_rule(name, target.shape)
            target.copy_(torch.from_numpy(fill(prefix + name, tuple(target.shape), scale, offset)))
    return rules


def run(config, ids, double, prefix=""):
    """Logits, loss (mean over the targets, which are the ids shifted by one) and every gradient, under our names."""
    with double_precision() if double else nullcontext():
        model = build(config)
        model = model.double() if double else model
        rules = set_weights(model, prefix)
        with OnlyDouble() if double else nullcontext():
            return evaluate(model, torch.from_numpy(ids).long()) | {"model": model, "rules": rules}


def evaluate(model, ids):
    result = model(input_ids=ids, labels=ids, use_cache=False)
    result.loss.backward()
    grads = {name: cut(p.grad).detach() for name, (p, cut) in views(model).items()}
    return {"logits": result.logits.detach(), "loss": result.loss.item(), "grads": grads}

"""The tiny models that the fixtures and the live comparison share: name -> config.json as a dictionary.

The keys are transformers', and where its model_type implies what we have keys of our own for, those beside them.
"""

BASE = {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-3,
    "rope_theta": 10000.0, "tie_word_embeddings": False, "attention_bias": False, "attention_dropout": 0.0,
    "initializer_range": 0.02, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip

LATENT = BASE | {
    "q_lora_rank": 32, "kv_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
    "first_k_dense_replace": 2, "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}  # fmt: skip

# Positions beyond 16, so that YaRN matters; mscale and mscale_all_dim differ, so that both of their places show.
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0, "beta_slow": 0.1,
        "mscale": 1.0, "mscale_all_dim": 0.707}  # fmt: skip
# The defaults of beta_fast, beta_slow and mscale: cos and sin are scaled, the scores are not.
YARN_PLAIN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}  # fmt: skip


def v2(**changes):
    return {"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2"} | LATENT | changes


def v3(**changes):
    return {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3"} | LATENT | changes


def llama(**changes):
    config = BASE | {"num_key_value_heads": 2, "mlp_bias": False} | changes
    config |= {"attention": "multi_head", "rope_interleave": False}
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama"} | config


def qwen2(**changes):
    return llama() | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "qkv_bias": True} | changes


def qwen3(**changes):
    return llama() | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "qk_norm": True} | changes


def gpt2(**changes):
    """Our keys, not GPT-2's own: its shape is pre-norm LayerNorm, learned positions, biases, tied output."""
    keep = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
    config = {k: BASE[k] for k in keep} | {"intermediate_size": 256, "layer_norm_eps": 1e-3,
                                           "tie_word_embeddings": True, "hidden_act": "gelu_new"}  # fmt: skip
    config |= {"attention": "multi_head", "position": "learned", "norm": "layernorm", "gated": False,
               "attention_bias": True, "mlp_bias": True}  # fmt: skip
    return {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"} | config | changes


GOLDEN = {
    "v2": v2(),
    "v2-noq": v2(q_lora_rank=None, v_head_dim=24),
    "v2-yarn": v2(rope_scaling=YARN, v_head_dim=12),
    "v2-noq-yarn": v2(q_lora_rank=None, rope_scaling=YARN_PLAIN),
    "v3": v3(v_head_dim=24),
    "v3-noq": v3(q_lora_rank=None),
    "v3-yarn": v3(rope_scaling=YARN, v_head_dim=12),
    "v3-noq-yarn": v3(q_lora_rank=None, rope_scaling=YARN_PLAIN),
    "v3-half-bias-tied": v3(rope_interleave=False, attention_bias=True, tie_word_embeddings=True),
    "llama": llama(),
    "llama3-tied": llama(rope_scaling=LLAMA3, rope_theta=100.0, tie_word_embeddings=True),
    "qwen2": qwen2(),
    "qwen3": qwen3(head_dim=24),
    "gpt2-gelu-new": gpt2(),
    "gpt2-gelu": gpt2(hidden_act="gelu"),
}

# Odd sizes, several blocks of attention, more layers; too large to keep as fixtures.
LIVE = GOLDEN | {
    "v2-wide": v2(hidden_size=192, num_attention_heads=6, num_key_value_heads=6, kv_lora_rank=40, q_lora_rank=48,
                  qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=40, intermediate_size=344, vocab_size=1000,
                  num_hidden_layers=4, first_k_dense_replace=4, max_position_embeddings=512),
    "v3-long-yarn": v3(num_hidden_layers=3, first_k_dense_replace=3, max_position_embeddings=1024,
                       rope_scaling=YARN | {"factor": 8.0, "original_max_position_embeddings": 128,
                                            "beta_fast": 32.0, "beta_slow": 1.0}),
    "v3-one-head": v3(num_attention_heads=1, num_key_value_heads=1, hidden_size=72, vocab_size=131),
    "v2-tied": v2(tie_word_embeddings=True, rms_norm_eps=1e-6),
    "llama-mha": llama(num_key_value_heads=4),
    "llama-mqa-tied": llama(num_key_value_heads=1, tie_word_embeddings=True, rope_theta=500000.0),
    "llama-odd": llama(hidden_size=120, num_attention_heads=6, num_key_value_heads=3, intermediate_size=200,
                       max_position_embeddings=512, num_hidden_layers=3, vocab_size=257),
}  # fmt: skip

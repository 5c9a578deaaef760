"""The article's MLAttention and TransformerLayer, as printed there, and their parameters under this project's names."""

import math

import torch
import torch.nn as nn

from fill import fill
from reference import fill_rule

# Our configuration of the article's layer; it has no vocabulary, but a model must.
CONFIG = {
    "vocab_size": 1, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 1, "num_attention_heads": 8,
    "q_lora_rank": None, "kv_lora_rank": 64, "qk_nope_head_dim": 64, "qk_rope_head_dim": 0, "v_head_dim": 64,
    "max_position_embeddings": 128, "layer_norm_eps": 1e-5, "hidden_act": "relu", "attention_bias": False,
    "mlp_bias": True, "attention": "latent", "position": "none", "latent_norm": False, "causal": False,
    "norm": "layernorm", "norm_position": "post", "gated": False, "dropout": 0.0, "final_norm": False,
}  # fmt: skip


class MLAttention(nn.Module):
    def __init__(self, d_model, num_heads, kv_lora_rank):
        super(MLAttention, self).__init__()
        self.d_model = d_model
        self.num_heads = num_heads
        self.kv_lora_rank = kv_lora_rank
        self.head_dim = d_model // num_heads
        # Low-rank projection matrices
        self.W_down_kv = nn.Linear(d_model, kv_lora_rank, bias=False)
        self.W_up_k = nn.Linear(kv_lora_rank, d_model, bias=False)
        self.W_up_v = nn.Linear(kv_lora_rank, d_model, bias=False)
        self.W_q = nn.Linear(d_model, d_model, bias=False)
        self.W_o = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x):
        batch_size, seq_len, _ = x.size()
        # Query projection
        q = self.W_q(x).view(batch_size, seq_len, self.num_heads, self.head_dim).transpose(1, 2)
        # Low-rank KV compression
        kv_latent = self.W_down_kv(x)
        k = self.W_up_k(kv_latent).view(batch_size, seq_len, self.num_heads, self.head_dim).transpose(1, 2)
        v = self.W_up_v(kv_latent).view(batch_size, seq_len, self.num_heads, self.head_dim).transpose(1, 2)
        # Scaled dot-product attention
        scores = torch.matmul(q, k.transpose(-2, -1)) / (self.head_dim**0.5)
        attn_weights = torch.softmax(scores, dim=-1)
        out = torch.matmul(attn_weights, v)
        # Reshape and output projection
        out = out.transpose(1, 2).contiguous().view(batch_size, seq_len, self.d_model)
        out = self.W_o(out)
        return out


class TransformerLayer(nn.Module):
    def __init__(self, d_model, num_heads, kv_lora_rank, d_ff, dropout=0.1):
        super(TransformerLayer, self).__init__()
        self.attention = MLAttention(d_model, num_heads, kv_lora_rank)
        self.norm1 = nn.LayerNorm(d_model)
        self.ffn = nn.Sequential(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Dropout(dropout), nn.Linear(d_ff, d_model))
        self.norm2 = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        # Attention with residual connection
        attn_output = self.attention(x)
        x = self.norm1(x + self.dropout(attn_output))
        # Feed-forward with residual connection
        ffn_output = self.ffn(x)
        x = self.norm2(x + self.dropout(ffn_output))
        return x


# Ours -> the article's. kv_b_proj is both up-projections: per head the rows of W_up_k, then those of W_up_v.
ATTENTION = {
    "self_attn.q_proj.weight": "W_q.weight",
    "self_attn.kv_a_proj_with_mqa.weight": "W_down_kv.weight",
    "self_attn.kv_b_proj.weight": ("W_up_k.weight", "W_up_v.weight"),
    "self_attn.o_proj.weight": "W_o.weight",
}
LAYER = {
    "input_layernorm": "norm1", "mlp.up_proj": "ffn.0", "mlp.down_proj": "ffn.3",
    "post_attention_layernorm": "norm2",
}  # fmt: skip


def names(module):
    if isinstance(module, MLAttention):
        return dict(ATTENTION)
    out = {k: tuple(f"attention.{x}" for x in v) if isinstance(v, tuple) else f"attention.{v}"
           for k, v in ATTENTION.items()}  # fmt: skip
    out |= {f"{k}.{kind}": f"{v}.{kind}" for k, v in LAYER.items() for kind in ("weight", "bias")}
    return out


def join(k, v, heads):
    """W_up_k and W_up_v (D, C) as kv_b_proj (2D, C)."""
    return torch.cat([k.view(heads, -1, k.shape[1]), v.view(heads, -1, v.shape[1])], dim=1).flatten(0, 1)


def cut(kv_b, heads):
    both = kv_b.view(heads, 2, -1, kv_b.shape[1])
    return both[:, 0].flatten(0, 1), both[:, 1].flatten(0, 1)


def set_weights(module, heads):
    rules, parameters = {}, dict(module.named_parameters())
    with torch.no_grad():
        for ours, theirs in names(module).items():
            pair = isinstance(theirs, tuple)
            shape = parameters[theirs[0] if pair else theirs].shape
            shape = (2 * shape[0], shape[1]) if pair else tuple(shape)
            offset, scale = rules[ours] = rule(ours, shape)
            value = torch.from_numpy(fill(ours, shape, scale, offset))
            for name, part in zip(theirs, cut(value, heads)) if pair else [(theirs, value)]:
                parameters[name].copy_(part)
    return rules


def rule(name, shape):
    """As in the models, but no norm stands behind the latent here, so the down-projection keeps its full spread."""
    if "kv_a_proj" in name:
        return 0.0, math.sqrt(3.0 / shape[-1])
    return fill_rule(name, shape)


def gradients(module, heads):
    parameters = dict(module.named_parameters())
    return {
        ours: join(*(parameters[t].grad for t in theirs), heads) if isinstance(theirs, tuple)
        else parameters[theirs].grad
        for ours, theirs in names(module).items()
    }  # fmt: skip

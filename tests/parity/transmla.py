"""`mla convert` beside TransMLA (Meng et al. 2025, arXiv 2502.07864), as its paper states it, at equal bytes of cache.

    python tests/parity/transmla.py --mla build/mla CHECKPOINT TOKENS.h5 --rope-dim R --latent N [--latent N]...

CHECKPOINT is a Llama-like or Qwen2-like model (GQA or MHA, with biases of queries, keys and values or without),
TOKENS.h5 a prepared token file. Both methods see the same windows of
its training tokens, and both results are evaluated by transformers (DeepseekV3ForCausalLM, f32) on held-out tokens.
TransMLA here: all heads merged; inside groups of F neighbouring frequencies one rotation for all heads by the keys'
second moments (RoRoPE, FreqFold), R dimensions keep RoPE at every c-th frequency, the rest loses it; keys and values
balanced by their mean norms; principal components of both together. F begins at c and doubles while the loss falls.
Its N components have no constant beside them, which costs ours one of its N. Biases go where the outputs of their
projections go; those of queries, for which transformers has no other place, through a low rank that leaves out nothing.

Needs torch, transformers, safetensors, h5py and numpy. Exit code 1 where TransMLA loses less.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np
import torch
import transformers

CONSTANT = 2.0**15


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                             attn_implementation="sdpa").eval()


def windows(file, part, count, length):
    """Evenly spread, each with the token that follows it."""
    tokens = h5py.File(file)[part]["tokens"]
    there = (len(tokens) - 1) // length
    starts = [int(i * there / count) * length for i in range(min(count, there))]
    return torch.from_numpy(np.stack([tokens[s : s + length + 1] for s in starts]).astype(np.int64))


def loss(model, batch):
    with torch.no_grad():
        logits = (model(input_ids=w[None, :-1]).logits[0].double() for w in batch)
        sums = [torch.nn.functional.cross_entropy(z, w[1:], reduction="sum") for z, w in zip(logits, batch)]
    return float(sum(sums)) / (batch.shape[0] * (batch.shape[1] - 1))


def projections(model, batch):
    """Per layer the outputs of k_proj and v_proj, (tokens, L), in double precision."""
    seen = [([], []) for _ in model.model.layers]
    hooks = []
    for layer, (keys, values) in zip(model.model.layers, seen):
        for out, module in ((keys, layer.self_attn.k_proj), (values, layer.self_attn.v_proj)):
            hooks.append(module.register_forward_hook(lambda m, i, o, out=out: out.append(o[0].double().numpy())))
    with torch.no_grad():
        for w in batch:
            model(input_ids=w[None, :-1])
    for hook in hooks:
        hook.remove()
    return [(np.concatenate(k), np.concatenate(v)) for k, v in seen]


def damped(x):
    h = x.T @ x
    return h + 0.01 * np.mean(np.diag(h)) * np.eye(len(h))


def principal(h):
    """Eigenvectors as columns, the largest eigenvalue first."""
    return np.linalg.eigh(h)[1][:, ::-1]


def rotation(keys, heads, width, fold):
    """(L, L) orthogonal, rows in groups of frequencies, each group's components first halves then second halves."""
    half = width // 2
    rows = []  # (group, component, half) -> row over L
    for group in range(half // fold):
        first = [h * width + group * fold + f for h in range(heads) for f in range(fold)]
        x = np.concatenate([keys[:, first], keys[:, [i + half for i in first]]])
        u = principal(damped(x))
        for component in range(heads * fold):
            pair = np.zeros((2, keys.shape[1]))
            pair[0, first] = u[:, component]
            pair[1, [i + half for i in first]] = u[:, component]
            rows.append((group, component, pair))
    return rows


def neutral_gain(rank):
    """Of a norm over rank - 1 channels and the constant, which becomes 1: the others stay as they are."""
    gain = np.full(rank, CONSTANT / np.sqrt(rank))
    gain[-1] = 1 / np.sqrt(rank)
    return gain


def with_bias(projection):
    """(out, in + 1): the bias as a last column, zero without."""
    weight = projection.weight.detach().double().numpy()
    bias = np.zeros(len(weight)) if projection.bias is None else projection.bias.detach().double().numpy()
    return np.concatenate([weight, bias[:, None]], 1)


def queries(q, biased):
    """q (out, in + 1) as parameters of DeepSeek-V3."""
    if not biased:
        return {"q_proj.weight": q[:, :-1]}
    rank = q.shape[1]
    bias = np.zeros(rank)
    bias[-1] = CONSTANT
    return {"q_a_proj.weight": np.eye(rank)[:, :-1], "q_a_proj.bias": bias,
            "q_a_layernorm.weight": neutral_gain(rank), "q_b_proj.weight": q}


def convert(model, moments, rope_dim, fold, latent):
    """A DeepseekV3ForCausalLM. The latent's norm is made neutral by a constant."""
    c = model.config
    heads, width = c.num_key_value_heads, getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    step, total = width // rope_dim, heads * width
    theta = c.rope_parameters["rope_theta"]
    rank, biased = latent + 1, model.model.layers[0].self_attn.q_proj.bias is not None
    kept = fold // step
    frequencies = [theta ** (-2 * (group * fold + m * step) / width)
                   for group in range(width // 2 // fold) for m in range(kept)]
    factors = [1 / (w * theta ** (2 * i / rope_dim)) for i, w in enumerate(frequencies)]
    config = transformers.DeepseekV3Config(
        vocab_size=c.vocab_size, hidden_size=c.hidden_size, intermediate_size=c.intermediate_size,
        num_hidden_layers=c.num_hidden_layers, num_attention_heads=c.num_attention_heads,
        num_key_value_heads=c.num_attention_heads, first_k_dense_replace=c.num_hidden_layers,
        q_lora_rank=c.hidden_size + 1 if biased else None, kv_lora_rank=rank, qk_nope_head_dim=width,
        qk_rope_head_dim=rope_dim, v_head_dim=width, attention_bias=True,
        max_position_embeddings=c.max_position_embeddings, rms_norm_eps=c.rms_norm_eps,
        tie_word_embeddings=c.tie_word_embeddings, rope_interleave=True,
        rope_parameters={"rope_type": "longrope", "rope_theta": theta, "short_factor": factors, "long_factor": factors,
                         "attention_factor": 1.0, "factor": 1.0,
                         "original_max_position_embeddings": c.max_position_embeddings})
    made = transformers.DeepseekV3ForCausalLM(config).eval()
    state = {n: v.clone() for n, v in model.state_dict().items() if ".self_attn." not in n or "o_proj.weight" in n}
    for i, layer in enumerate(model.model.layers):
        a = layer.self_attn
        wq, wk, wv = (with_bias(p) for p in (a.q_proj, a.k_proj, a.v_proj))
        keys, values = moments[i]
        rows = rotation(keys, heads, width, fold)
        rotary = np.concatenate([p for _, m, p in rows if m < kept])
        plain = np.concatenate([p for _, m, p in rows if m >= kept])
        nope = keys @ plain.T
        rho = np.mean(np.linalg.norm(nope, axis=0)) / np.mean(np.linalg.norm(values, axis=0))
        basis = principal(damped(np.concatenate([nope / rho, values], 1)))[:, :latent]
        down = basis.T @ np.concatenate([plain @ wk / rho, wv])
        kv_a = np.concatenate([down, np.zeros((1, c.hidden_size + 1)), rotary @ wk])
        kv_a[rank - 1, -1] = CONSTANT
        kv_b, q = [], []
        for h in range(c.num_attention_heads):
            g = h // (c.num_attention_heads // heads)
            block = slice(g * width, (g + 1) * width)
            up = np.zeros((2 * width, len(plain) + total))
            up[:width, : len(plain)] = rho * plain[:, block].T
            up[width:, len(plain) + g * width : len(plain) + (g + 1) * width] = np.eye(width)
            kv_b.append(np.concatenate([up @ basis, np.zeros((2 * width, 1))], 1))
            own = wq[h * width : (h + 1) * width]
            q.append(np.concatenate([own, rotary[:, block] @ own]) * np.sqrt((width + rope_dim) / width))
        name = f"model.layers.{i}.self_attn."
        for key, value in {**queries(np.concatenate(q), biased), "kv_a_proj_with_mqa.weight": kv_a[:, :-1],
                           "kv_a_proj_with_mqa.bias": kv_a[:, -1], "kv_a_layernorm.weight": neutral_gain(rank),
                           "kv_b_proj.weight": np.concatenate(kv_b),
                           "o_proj.bias": np.zeros(c.hidden_size)}.items():  # fmt: skip
            state[name + key] = torch.from_numpy(np.ascontiguousarray(value)).float()
    made.load_state_dict(state)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mla", required=True, type=pathlib.Path)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("tokens", type=pathlib.Path)
    parser.add_argument("--rope-dim", type=int, required=True)
    parser.add_argument("--latent", type=int, action="append", required=True)
    parser.add_argument("--calibrate", type=int, default=128, help="windows that calibrate")
    parser.add_argument("--sequence", type=int, default=256)
    parser.add_argument("--measure", type=int, default=64, help="held-out windows")
    given = parser.parse_args()
    worse = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        run = lambda *words: subprocess.run([str(w) for w in words], check=True)  # noqa: E731
        run(given.mla, "export", given.checkpoint, "--out", folder / "original")
        original = load(folder / "original")
        held_out = windows(given.tokens, "held_out", given.measure, given.sequence)
        calibration = windows(given.tokens, "train", given.calibrate, given.sequence)
        base = loss(original, held_out)
        moments = projections(original, calibration)
        c = original.config
        width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        step, layers = width // given.rope_dim, c.num_hidden_layers
        print(f"original: {base:.4f} nats per token, {layers * 8 * c.num_key_value_heads * width} bytes")
        fold, tried = step, {}
        while fold <= width // 2:
            every = 2 * c.num_key_value_heads * width - given.rope_dim
            tried[fold] = loss(convert(original, moments, given.rope_dim, fold, every), held_out)
            if len(tried) > 1 and tried[fold] > tried[fold // 2]:
                break
            fold *= 2
        fold = min(tried, key=tried.get)
        print(f"TransMLA, rotary part alone: +{tried[fold] - base:.4f} (fold {fold})")
        for latent in given.latent:
            theirs = loss(convert(original, moments, given.rope_dim, fold, latent), held_out) - base
            tokens = given.calibrate * given.sequence * 3 // 2
            run(given.mla, "convert", given.checkpoint, "--rope-dim", given.rope_dim, "--latent", latent, "--calibrate",
                given.tokens, "--tokens", tokens, "--sequence", given.sequence, "--out", folder / f"{latent}.h5")
            run(given.mla, "export", folder / f"{latent}.h5", "--out", folder / f"{latent}")
            ours = loss(load(folder / f"{latent}"), held_out) - base
            worse += ours > theirs
            size = layers * 4 * (latent + given.rope_dim)
            print(f"latent {latent}, {size} bytes: ours {ours:+.4f}, TransMLA {theirs:+.4f}", flush=True)
    sys.exit(bool(worse))


if __name__ == "__main__":
    main()

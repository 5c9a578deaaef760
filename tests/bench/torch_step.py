"""A training step in PyTorch, as its users write it, to hold `mla` against: prints one JSON object per step.

    python torch_step.py --steps 5                 # the d512 x 8 decoder with latent attention
    python torch_step.py --work article --steps 5  # the article's layer, 32 x 128 x 512
    python torch_step.py --interactive             # one step per line "step" on stdin, until it ends
"""

import argparse
import json
import math
import os
import platform
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Geometry:
    hidden: int = 512
    layers: int = 8
    heads: int = 8
    nope: int = 64
    rope: int = 32
    value: int = 64
    latent: int = 128
    feed_forward: int = 1408
    vocab: int = 8192
    length: int = 1024
    batch: int = 4
    eps: float = 1e-6
    theta: float = 10000.0


SIZES = {"d512x8": {}, "d256x4": dict(hidden=256, layers=4, heads=4, latent=64, feed_forward=704, vocab=2048)}


def rotation(g):
    """cos and sin (T, R/2)."""
    frequency = g.theta ** (-torch.arange(0, g.rope, 2) / g.rope)
    angle = torch.outer(torch.arange(g.length), frequency)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Interleaved pairs, x (B,H,T,R); the result holds the first members, then the second."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class LatentAttention(nn.Module):
    def __init__(self, g, pad_v):
        super().__init__()
        self.g, self.pad_v = g, pad_v
        self.q_proj = nn.Linear(g.hidden, g.heads * (g.nope + g.rope), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(g.hidden, g.latent + g.rope, bias=False)
        self.kv_a_layernorm = nn.RMSNorm(g.latent, eps=1e-6)
        self.kv_b_proj = nn.Linear(g.latent, g.heads * (g.nope + g.value), bias=False)
        self.o_proj = nn.Linear(g.heads * g.value, g.hidden, bias=False)

    def forward(self, x, cos, sin):
        g, (batch, length, _) = self.g, x.shape
        q = self.q_proj(x).view(batch, length, g.heads, -1).transpose(1, 2)
        q_nope, q_rope = q.split([g.nope, g.rope], dim=-1)
        latent, k_rope = self.kv_a_proj_with_mqa(x).split([g.latent, g.rope], dim=-1)
        kv = self.kv_b_proj(self.kv_a_layernorm(latent)).view(batch, length, g.heads, -1).transpose(1, 2)
        k_nope, v = kv.split([g.nope, g.value], dim=-1)
        k_rope = rotate(k_rope.view(batch, 1, length, g.rope), cos, sin).expand(-1, g.heads, -1, -1)
        q = torch.cat((q_nope, rotate(q_rope, cos, sin)), dim=-1)
        k = torch.cat((k_nope, k_rope), dim=-1)
        if self.pad_v:
            v = F.pad(v, (0, k.shape[-1] - g.value))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)[..., : g.value]
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    def __init__(self, g):
        super().__init__()
        self.gate_proj = nn.Linear(g.hidden, g.feed_forward, bias=False)
        self.up_proj = nn.Linear(g.hidden, g.feed_forward, bias=False)
        self.down_proj = nn.Linear(g.feed_forward, g.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, g, pad_v):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(g.hidden, eps=g.eps)
        self.self_attn = LatentAttention(g, pad_v)
        self.post_attention_layernorm = nn.RMSNorm(g.hidden, eps=g.eps)
        self.mlp = FeedForward(g)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, g, tied=True, pad_v=False):
        super().__init__()
        self.embed_tokens = nn.Embedding(g.vocab, g.hidden)
        self.layers = nn.ModuleList(Block(g, pad_v) for _ in range(g.layers))
        self.norm = nn.RMSNorm(g.hidden, eps=g.eps)
        self.lm_head = nn.Linear(g.hidden, g.vocab, bias=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)
        if tied:
            self.lm_head.weight = self.embed_tokens.weight
        cos, sin = rotation(g)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.lm_head(self.norm(x))


def add_adapters(model, rank, bf16):
    """PEFT's LoRA on all projections of attention; the base stays in bf16 where the step is."""
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets)
    return get_peft_model(model.to(torch.bfloat16) if bf16 else model, config)


def decoder_loss(options):
    """(module, function that gives the loss of one batch)."""
    g = Geometry(length=options.length, batch=options.batch, **SIZES[options.size])
    model = Decoder(g, tied=not options.untied, pad_v=options.pad_v)
    if options.lora:
        model = add_adapters(model, options.lora, options.bf16)
    run = torch.compile(model) if options.compile else model

    def loss():
        ids = torch.randint(g.vocab, (g.batch, g.length + 1))
        logits = run(ids[:, :-1])
        return F.cross_entropy(logits.float().view(-1, g.vocab), ids[:, 1:].reshape(-1))

    return model, loss


def article_loss(options):
    sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
    from article import TransformerLayer

    layer = TransformerLayer(d_model=512, num_heads=8, kv_lora_rank=64, d_ff=2048)
    run = torch.compile(layer) if options.compile else layer
    return layer, lambda: run(torch.randn(32, 128, 512)).float().square().mean()


def make_optimizer(model):
    """Decay on matrices only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]  # fmt: skip
    return torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), fused=True)


def step(model, loss_of_batch, optimizer, bf16):
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext():
        loss = loss_of_batch()
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()
    return loss.item()


def memory(field):
    """A figure of /proc/self/status in MiB: VmHWM is the peak of the resident set."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return math.nan


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def say(**fields):
    print(json.dumps(fields), flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=("decoder", "article"), default="decoder")
    parser.add_argument("--steps", type=int, default=5, help="how many, unless --interactive (default 5)")
    parser.add_argument("--interactive", action="store_true", help='a step per line "step" on stdin')
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--untied", action="store_true", help="an output projection of its own")
    parser.add_argument("--pad-v", action="store_true", help="pad values to the keys' width, for the flash kernel")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK", help="adapters on attention, by PEFT; 0: all is trained")
    parser.add_argument("--size", choices=SIZES, default="d512x8", help="of the decoder")
    parser.add_argument("--length", type=int, default=Geometry.length, help="tokens per sequence (default 1024)")
    parser.add_argument("--batch", type=int, default=Geometry.batch, help="sequences (default 4)")
    return parser.parse_args()


def turns(options):
    """Yields once per step to take."""
    if not options.interactive:
        yield from range(options.steps)
        return
    for line in sys.stdin:
        if line.strip() == "step":
            yield None
        elif line.strip():
            sys.exit(f'torch_step.py: unknown request {line.strip()!r}; the only one is "step"')


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    imported = memory("VmHWM")
    model, loss_of_batch = (article_loss if options.work == "article" else decoder_loss)(options)
    optimizer = make_optimizer(model)
    say(ready=True, program="torch", torch=torch.__version__, python=platform.python_version(),
        processor=processor(), cores=os.cpu_count(), threads=torch.get_num_threads(), work=options.work,
        parameters=sum(p.numel() for p in model.parameters()),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad), precision="bf16" if options.bf16 else "f32",
        compiled=options.compile, pad_v=options.pad_v, imported_mib=round(imported, 1))  # fmt: skip
    for number, _ in enumerate(turns(options), start=1):
        begin = time.perf_counter()
        loss = step(model, loss_of_batch, optimizer, options.bf16)
        say(step=number, ms=round((time.perf_counter() - begin) * 1e3, 2), loss=round(loss, 5),
            peak_mib=round(memory("VmHWM"), 1))  # fmt: skip


if __name__ == "__main__":
    main()

"""Makes every fixture of this folder: python make_golden.py [NAME...]. README.md says what is in them."""

import argparse
import json
import pathlib
import sys

import h5py
import numpy as np
import torch
import transformers
from transformers import optimization

import article
import reference
from cases import GOLDEN
from fill import fill, fill_ids

FOLDER = pathlib.Path(__file__).parent
SAMPLES = 512


def gradient_scales(grads):
    """Each gradient's norm. One that is zero but for rounding (a bias of the keys shifts all scores of a query
    alike, which softmax does not see) is measured against all gradients together."""
    norms = {name: float(g.double().norm()) for name, g in grads.items()}
    total = sum(n**2 for n in norms.values()) ** 0.5
    return {name: n if n > 1e-10 * total else total for name, n in norms.items()}


class Fixture:
    """One HDF5 file that HDF5 1.10 can read."""

    def __init__(self, name):
        self.file = h5py.File(FOLDER / f"{name}.h5", "w", libver=("earliest", "v110"), track_order=False)
        self.worst = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        size = self.file.id.get_filesize()
        print(f"{pathlib.Path(self.file.filename).name:28} {size / 1024:7.0f} KiB  float32 error <= {self.worst:.1e}")
        self.file.close()

    def text(self, path, value):
        self.file[path] = np.frombuffer(json.dumps(value, indent=1).encode(), np.uint8)

    def rules(self, rules):
        for name, rule in rules.items():
            self.file[f"fill/{name}"] = np.array(rule, np.float32)

    def result(self, path, exact, single, whole=False, scale=None):
        """Stores `exact` (float64), whole or at sampled positions, and how far PyTorch's float32 is from it.
        Errors are relative to `scale`, which is the result's own norm unless given."""
        scale = float(exact.double().norm()) if scale is None else scale
        error = float((single.double() - exact.double()).norm()) / max(scale, 1e-300)
        self.worst = max(self.worst, error)
        flat = exact.double().contiguous().view(-1).numpy()
        if not whole and flat.size > SAMPLES:
            flat = flat[self.positions(flat.size)]
        data = self.file.create_dataset(path, data=flat.astype(np.float32))
        data.attrs["shape"] = np.array(exact.shape, np.int64)
        data.attrs["norm"] = float(exact.double().norm())
        data.attrs["scale"] = scale
        data.attrs["float32_error"] = error

    def positions(self, count):
        path = f"positions/{count}"
        if path not in self.file:
            chosen = np.random.default_rng(count).choice(count, SAMPLES, replace=False)
            self.file[path] = np.sort(chosen).astype(np.int64)
        return self.file[path][...]


def make_fill():
    """What the C twin of fill must give, bit by bit."""
    with Fixture("fill") as out:
        out.file["plain"] = fill("plain", 64)
        out.file["model.norm.weight"] = fill("model.norm.weight", 64, 0.2, 1.0)
        out.rules({"model.norm.weight": (1.0, 0.2)})
        out.file["ids"] = fill_ids("ids", 64, 1000)


def run_article(make, double):
    heads, shape = article.CONFIG["num_attention_heads"], (32, 128, article.CONFIG["hidden_size"])
    module = make()
    rules = article.set_weights(module, heads)
    module = module.double() if double else module
    x, dy = (torch.from_numpy(fill(name, shape)).to(torch.float64 if double else torch.float32) for name in ("x", "dy"))
    y = module(x.requires_grad_())
    loss = (y * dy).sum()
    loss.backward()
    return rules, loss.item(), {"y": y.detach(), "dx": x.grad} | {
        f"grad/{k}": v for k, v in article.gradients(module, heads).items()
    }


def make_article():
    g = article.CONFIG
    sizes = g["hidden_size"], g["num_attention_heads"], g["kv_lora_rank"]
    makers = {
        "article-attention": lambda: article.MLAttention(*sizes),
        "article-layer": lambda: article.TransformerLayer(*sizes, g["intermediate_size"], dropout=0.0),
    }
    for name, make in makers.items():
        rules, loss, exact = run_article(make, True)
        single = run_article(make, False)[2]
        with Fixture(name) as out:
            out.text("config/model", g)
            out.rules(rules)
            out.file["loss"] = loss
            for path in exact:
                out.result(path, exact[path], single[path])


def make_model(name, config, shape=(2, 48)):
    ids = fill_ids("ids", shape, config["vocab_size"])
    exact = reference.run(config, ids, double=True)
    single = reference.run(config, ids, double=False)
    with Fixture(name) as out:
        out.text("config/model", config)
        out.rules(exact["rules"])
        out.file["ids"] = ids
        out.file["loss"] = exact["loss"]
        out.result("logits", exact["logits"], single["logits"], whole=True)
        scales = gradient_scales(exact["grads"])
        for key, grad in exact["grads"].items():
            out.result(f"grad/{key}", grad, single["grads"][key], scale=scales[key])
        store_rope(out, exact["model"])


def store_rope(out, model):
    """The numbers that RoPE and YaRN come down to, for finding out which of them is wrong."""
    rotary = getattr(model.model, "rotary_emb", None) if hasattr(model, "model") else None
    if rotary is None:
        return
    out.file["rope/inv_freq"] = rotary.inv_freq.double().numpy()
    out.file["rope/attention_scaling"] = float(rotary.attention_scaling)
    out.file["rope/softmax_scale"] = float(model.model.layers[0].self_attn.scaling)


ADAMW = {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "max_norm": 1.0, "lr": [1e-2, 5e-3, 2e-3]}
# name -> shape, decayed, scale of the gradient; the tiny one makes eps visible
ADAMW_SET = {
    "first.weight": ((16, 8), True, 1.0), "second.weight": ((8, 16), True, 0.3), "tiny.weight": ((4, 4), True, 3e-8),
    "norm.weight": ((16,), False, 0.5), "second.bias": ((8,), False, 0.2),
}  # fmt: skip
ADAMW_GRADIENT = [1.0, 0.02, 3.0]  # scales of the three steps: clipped, not clipped, clipped


def run_adamw(dtype):
    p = {n: torch.from_numpy(fill(n, s)).to(dtype).requires_grad_() for n, (s, _, _) in ADAMW_SET.items()}
    groups = [
        {"params": [p[n] for n in p if ADAMW_SET[n][1]], "weight_decay": ADAMW["weight_decay"]},
        {"params": [p[n] for n in p if not ADAMW_SET[n][1]], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=tuple(ADAMW["betas"]), eps=ADAMW["eps"])
    results = {}
    for step, (lr, factor) in enumerate(zip(ADAMW["lr"], ADAMW_GRADIENT)):
        for name, (shape, _, scale) in ADAMW_SET.items():
            p[name].grad = torch.from_numpy(fill(f"{name}@{step}", shape, scale * factor)).to(dtype)
        results[f"step{step}/norm"] = torch.nn.utils.clip_grad_norm_(p.values(), ADAMW["max_norm"]).view(1)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        for name, parameter in p.items():
            results[f"step{step}/value/{name}"] = parameter.detach().clone()
            for moment, key in (("m", "exp_avg"), ("v", "exp_avg_sq")):
                results[f"step{step}/{moment}/{name}"] = optimizer.state[parameter][key].clone()
    return results


def make_adamw():
    exact, single = run_adamw(torch.float64), run_adamw(torch.float32)
    with Fixture("adamw") as out:
        parameters = {n: {"shape": s, "decay": d, "gradient_scale": g} for n, (s, d, g) in ADAMW_SET.items()}
        out.text("config/adamw", ADAMW | {"gradient_scale": ADAMW_GRADIENT, "parameters": parameters})
        for path in exact:
            out.result(path, exact[path], single[path], whole=True)


def run_distil(targets, share, temperature, double):
    """Cross-entropy and KL(teacher || student) of the rows whose target is not -1."""
    rows, width, teacher_width, vocabulary = len(targets), 24, 40, 70
    dtype = torch.float64 if double else torch.float32
    shapes = {"x": (rows, width), "w": (vocabulary, width), "teacher": (rows, teacher_width),
              "teacher_w": (vocabulary, teacher_width)}  # fmt: skip
    x, w, teacher, teacher_w = (torch.from_numpy(fill(name, shape)).to(dtype) for name, shape in shapes.items())
    targets = torch.from_numpy(targets).long()
    counts = targets >= 0
    x.requires_grad_(), w.requires_grad_()
    z, t = (x @ w.T)[counts], (teacher @ teacher_w.T)[counts]
    soft = torch.nn.functional.kl_div(torch.log_softmax(z / temperature, -1), torch.log_softmax(t / temperature, -1),
                                      reduction="batchmean", log_target=True)  # fmt: skip
    hard = torch.nn.functional.cross_entropy(z, targets[counts])
    loss = (1 - share) * hard + share * temperature**2 * soft
    loss.backward()
    return loss.item(), soft.item(), {"dx": x.grad, "dw": w.grad}


def make_distil():
    targets = fill_ids("targets", (300,), 70)
    targets[3::7] = -1
    with Fixture("distil") as out:
        out.file["targets"] = targets
        for case, (share, temperature) in enumerate([(0.7, 2.0), (1.0, 1.0), (0.0, 3.0)]):
            loss, divergence, exact = run_distil(targets, share, temperature, True)
            _, _, single = run_distil(targets, share, temperature, False)
            out.file[f"{case}/loss"], out.file[f"{case}/divergence"] = loss, divergence
            for name in exact:
                out.result(f"{case}/{name}", exact[name], single[name])


def make_schedules():
    total, warmup = 100, 10
    o = optimization
    wsd = {"num_warmup_steps": warmup, "num_stable_steps": 60, "num_decay_steps": 30}
    schedules = {
        "constant": (o.get_constant_schedule_with_warmup, {"num_warmup_steps": warmup}),
        "constant-no-warmup": (o.get_constant_schedule_with_warmup, {"num_warmup_steps": 0}),
        "linear": (o.get_linear_schedule_with_warmup, {"num_warmup_steps": warmup, "num_training_steps": total}),
        "cosine": (o.get_cosine_schedule_with_warmup, {"num_warmup_steps": warmup, "num_training_steps": total}),
        "cosine-min": (o.get_cosine_with_min_lr_schedule_with_warmup,
                       {"num_warmup_steps": warmup, "num_training_steps": total, "min_lr_rate": 0.1}),
        "wsd-cosine": (o.get_wsd_schedule, wsd | {"decay_type": "cosine", "min_lr_ratio": 0.0}),
        "wsd-linear": (o.get_wsd_schedule, wsd | {"decay_type": "linear", "min_lr_ratio": 0.0}),
        "wsd-sqrt": (o.get_wsd_schedule, wsd | {"decay_type": "1-sqrt", "min_lr_ratio": 0.0}),
        "wsd-linear-min": (o.get_wsd_schedule, wsd | {"decay_type": "linear", "min_lr_ratio": 0.1}),
    }  # fmt: skip
    with Fixture("schedules") as out:
        for name, (make, options) in schedules.items():
            out.file[f"{name}/lr"] = np.array(run_schedule(make, options, total + 10))
            out.text(f"{name}/options", options | {"lr": 3e-4})


def run_schedule(make, options, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    schedule = make(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


def main():
    makers = {"fill": make_fill, "article": make_article, "adamw": make_adamw, "schedules": make_schedules,
              "distil": make_distil}
    makers |= {name: lambda n=name, c=config: make_model(n, c) for name, config in GOLDEN.items()}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(makers)}; all when none is given")
    names = parser.parse_args().names or list(makers)
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    print(f"python {sys.version.split()[0]}, torch {torch.__version__}, transformers {transformers.__version__}, "
          f"h5py {h5py.__version__}, numpy {np.__version__}")  # fmt: skip
    for name in names:
        makers[name]()


if __name__ == "__main__":
    main()

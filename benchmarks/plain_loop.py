"""A training loop as one would write it, in the manner of nanoGPT: what a sweep is compared with.

One process trains one ratio; a user calls it once a ratio. Model, optimizer and sizes are those of
our built-in decoder, written out in eager PyTorch: random batches, random validation batches at
each evaluation, a checkpoint after each, PyTorch's own number of threads. It shares no code with the
library.

    python benchmarks/plain_loop.py '{"data": "DIR", "out": "DIR", "domain_ratio": 0.25, ...}'

``data`` holds ``{general,domain}_{train,val}.bin`` (uint16 tokens one after another) and
``base.pt``, the weights to start from.
"""

import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    """Everything that can be set; defaults as in nanoGPT's small configurations."""

    data: str
    out: str
    domain_ratio: float
    width: int
    layers: int
    heads: int
    feedforward: int
    vocab_size: int = 257
    block_size: int = 128
    batch_size: int = 16
    steps: int = 100
    eval_steps: tuple = (25, 50, 100)
    eval_batches: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 10
    weight_decay: float = 0.1
    grad_clip: float = 1.0
    device: str = "cpu"
    compile: bool = False
    bf16: bool = False
    seed: int = 1337


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x, cos, sin):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).split(width, dim=2)
        q, k, v = (y.view(batch, length, self.heads, -1).transpose(1, 2) for y in (q, k, v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).contiguous().view(batch, length, width))


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate = nn.Linear(config.width, config.feedforward, bias=False)
        self.up = nn.Linear(config.width, config.feedforward, bias=False)
        self.down = nn.Linear(config.feedforward, config.width, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.norm_1 = nn.RMSNorm(config.width, eps=1e-6)
        self.attention = Attention(config)
        self.norm_2 = nn.RMSNorm(config.width, eps=1e-6)
        self.feedforward = FeedForward(config)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.norm_1(x), cos, sin)
        return x + self.feedforward(self.norm_2(x))


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.head.weight = self.embedding.weight
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                is_last = name.endswith(("out.weight", "down.weight"))
                std = 0.02 / math.sqrt(2 * config.layers) if is_last else 0.02
                nn.init.normal_(weight, std=std)
        half = config.width // config.heads // 2
        frequencies = 1.0 / 10000 ** (torch.arange(half) / half)
        angles = torch.outer(torch.arange(config.block_size), frequencies)
        angles = torch.cat([angles, angles], dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens, targets):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def get_batch(config, part, domain_ratio):
    """Return random pieces of both corpora, each sequence from the domain with the given chance."""
    files = [
        np.memmap(f"{config.data}/{name}_{part}.bin", dtype=np.uint16, mode="r")
        for name in ("general", "domain")
    ]
    rows = []
    for _ in range(config.batch_size):
        tokens = files[torch.rand(()).item() < domain_ratio]
        start = torch.randint(len(tokens) - config.block_size - 1, ()).item()
        rows.append(tokens[start : start + config.block_size + 1].astype(np.int64))
    batch = torch.from_numpy(np.stack(rows)).to(config.device)
    return batch[:, :-1].contiguous(), batch[:, 1:].contiguous()


@torch.no_grad()
def estimate_loss(config, model, context):
    """Return the mean loss of random validation batches of each corpus."""
    model.eval()
    means = {}
    for name, ratio in (("general", 0.0), ("domain", 1.0)):
        losses = []
        for _ in range(config.eval_batches):
            with context():
                losses.append(model(*get_batch(config, "val", ratio)).item())
        means[name] = sum(losses) / len(losses)
    model.train()
    return means


def main(config):
    torch.manual_seed(config.seed)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)

    def context():
        return torch.autocast(config.device, dtype=torch.bfloat16, enabled=config.bf16)

    raw = Model(config).to(config.device)
    base = Path(config.data) / "base.pt"
    if base.exists():
        state = torch.load(base, map_location=config.device, weights_only=True)
        raw.load_state_dict(state["model"])
    matrices = [weight for weight in raw.parameters() if weight.dim() >= 2]
    others = [weight for weight in raw.parameters() if weight.dim() < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(0.9, 0.95),
        fused=config.device == "cuda",
    )
    model = torch.compile(raw) if config.compile else raw
    began = time.time()
    batch = get_batch(config, "train", config.domain_ratio)
    for step in range(1, config.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, step / config.warmup_steps)
        with context():
            loss = model(*batch)
        batch = get_batch(config, "train", config.domain_ratio)  # while a GPU computes
        loss.backward()
        torch.nn.utils.clip_grad_norm_(raw.parameters(), config.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.4f}, {time.time() - began:.1f} s", flush=True)
        if step in config.eval_steps:
            losses = estimate_loss(config, model, context)
            print(f"step {step}: {losses}", flush=True)
            with open(out / "log.jsonl", "a") as log:
                print(json.dumps({"step": step} | losses), file=log)
            checkpoint = {"model": raw.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(checkpoint | {"step": step}, out / "ckpt.pt")


if __name__ == "__main__":
    main(Config(**json.loads(sys.argv[1])))

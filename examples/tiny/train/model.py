"""The network: a llama (RMSNorm, rotary positions on adjacent pairs, grouped-query attention, SwiGLU, tied embeddings).

Written for training on one CPU thread: few and large products, no mask tensors built twice, and a norm with its own
backward pass, which autograd would spread over a dozen passes over memory.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Config:
    dim: int = 128
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    ffn_dim: int = 384
    vocab: int = 768
    context: int = 512
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5

    def as_dict(self):
        return asdict(self)


class RmsNormFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, epsilon):
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        normalized = x * scale
        ctx.save_for_backward(normalized, scale, weight)
        return normalized * weight

    @staticmethod
    def backward(ctx, grad):
        normalized, scale, weight = ctx.saved_tensors
        weight_grad = (grad * normalized).flatten(0, -2).sum(0)
        grad = grad * weight
        mean = (grad * normalized).mean(-1, keepdim=True)
        return torch.addcmul(grad, normalized, mean, value=-1).mul_(scale), weight_grad, None


class CrossEntropy(torch.autograd.Function):
    """Mean of -log softmax(logits)[target]; several times faster on a CPU than log_softmax of PyTorch 1.13."""

    @staticmethod
    def forward(ctx, logits, targets):
        probabilities = logits.softmax(-1)
        ctx.save_for_backward(probabilities, targets)
        return -(probabilities.gather(-1, targets.unsqueeze(-1)) + 1e-30).log().mean()

    @staticmethod
    def backward(ctx, grad):
        probabilities, targets = ctx.saved_tensors
        one = torch.full((len(targets), 1), -1.0)
        return probabilities.scatter_add_(-1, targets.unsqueeze(-1), one).mul_(grad / len(targets)), None


class RmsNorm(torch.nn.Module):
    def __init__(self, dim, epsilon):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(dim))
        self.epsilon = epsilon

    def forward(self, x):
        return RmsNormFunction.apply(x, self.weight, self.epsilon)


class Layer(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.attention_norm = RmsNorm(c.dim, c.norm_epsilon)
        self.qkv = torch.nn.Linear(c.dim, (c.heads + 2 * c.kv_heads) * c.head_dim, bias=False)
        self.attention_output = torch.nn.Linear(c.heads * c.head_dim, c.dim, bias=False)
        self.ffn_norm = RmsNorm(c.dim, c.norm_epsilon)
        self.gate_up = torch.nn.Linear(c.dim, 2 * c.ffn_dim, bias=False)
        self.down = torch.nn.Linear(c.ffn_dim, c.dim, bias=False)

    def attention(self, x, rotation, mask):
        c = self.c
        batch, length, _ = x.shape
        qkv = self.qkv(x).float().view(batch, length, c.heads + 2 * c.kv_heads, c.head_dim)
        rotated = c.heads + c.kv_heads
        qk = torch.view_as_complex(qkv[:, :, :rotated].unflatten(-1, (-1, 2)))
        qk = torch.view_as_real(qk * rotation).flatten(-2)
        # Queries of one key head lie together, so a group is one taller product: [batch, kv_heads, group * length, .].
        q = qk[:, :, : c.heads].view(batch, length, c.kv_heads, -1, c.head_dim).permute(0, 2, 3, 1, 4)
        q = q.reshape(batch * c.kv_heads, -1, c.head_dim)
        k = qk[:, :, c.heads :].permute(0, 2, 3, 1).reshape(batch * c.kv_heads, c.head_dim, length)
        v = qkv[:, :, rotated:].transpose(1, 2).reshape(batch * c.kv_heads, length, c.head_dim)
        scores = torch.baddbmm(mask, q, k, alpha=1 / math.sqrt(c.head_dim))
        mixed = torch.bmm(scores.softmax(-1), v)
        mixed = mixed.view(batch, c.heads, length, c.head_dim).transpose(1, 2).flatten(2)
        return self.attention_output(mixed)

    def forward(self, x, rotation, mask):
        x = x + self.attention(self.attention_norm(x), rotation, mask)
        # Two products: halves of one would not be contiguous, and silu is several times slower on those.
        gate, up = self.gate_up.weight.chunk(2)
        h = self.ffn_norm(x)
        return x + self.down(F.silu(F.linear(h, gate)) * F.linear(h, up))


class Llama(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embedding = torch.nn.Parameter(torch.empty(c.vocab, c.dim))
        self.layers = torch.nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.output_norm = RmsNorm(c.dim, c.norm_epsilon)
        frequencies = c.rope_base ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
        angles = torch.outer(torch.arange(c.context, dtype=torch.float64), frequencies)
        self.register_buffer("rotation", torch.polar(torch.ones_like(angles), angles).to(torch.complex64), False)
        self.register_buffer("future", torch.full((c.context, c.context), -1e9).triu(1), False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("attention_output.weight", "down.weight"))
                torch.nn.init.normal_(parameter, std=0.05 / math.sqrt(2 * c.layers) if residual else 0.05)

    def forward(self, tokens, keep=None):
        """tokens [batch, length] -> logits [batch, length, vocab], or [kept, vocab] where `keep` [batch, length] is."""
        length = tokens.shape[1]
        rotation = self.rotation[:length].unsqueeze(1)
        mask = self.future[:length, :length].repeat(self.c.heads // self.c.kv_heads, 1).unsqueeze(0)
        x = F.embedding(tokens, self.embedding)
        for layer in self.layers:
            x = layer(x, rotation, mask)
        if keep is not None:
            x = x[keep]
        return F.linear(self.output_norm(x), self.embedding)

    def parameter_count(self):
        return sum(p.numel() for p in self.parameters())

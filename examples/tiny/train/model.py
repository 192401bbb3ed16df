"""The network: a llama (RMSNorm, rotary positions on adjacent pairs, grouped-query attention, SwiGLU, tied embeddings).

Written for training on one CPU thread: few and large products, no mask tensors built twice, and a norm with its own
backward pass, which autograd would spread over a dozen passes over memory.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

import tokenizer


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


class Attention(torch.autograd.Function):
    """softmax(q k / sqrt(head_dim) + mask) v, in bfloat16 under autocast, which would make softmax float32 and copy the scores twice.

    q [batch, kv_heads, group, length, head_dim], k and v [batch, kv_heads, length, head_dim], mask [batch, 1, 1, length, length].
    """

    @staticmethod
    def forward(ctx, q, k, v, mask):
        with torch.autocast("cpu", enabled=False):
            batch, kv_heads, group, length, head_dim = q.shape
            q, k, v = (x.to(mask.dtype).reshape(batch * kv_heads, -1, head_dim) for x in (q / math.sqrt(head_dim), k, v))
            scores = torch.bmm(q, k.transpose(1, 2)).view(batch, kv_heads, group, length, length)
            probabilities = scores.add_(mask).softmax(-1).view(batch * kv_heads, -1, length)
            ctx.save_for_backward(q, k, v, probabilities)
            ctx.shape = (batch, kv_heads, group, length, head_dim)
            return torch.bmm(probabilities, v).view(ctx.shape)

    @staticmethod
    def backward(ctx, grad):
        q, k, v, probabilities = ctx.saved_tensors
        batch, kv_heads, _, length, head_dim = ctx.shape
        grad = grad.reshape(q.shape)
        grad_scores = torch._softmax_backward_data(torch.bmm(grad, v.transpose(1, 2)), probabilities, -1, q.dtype)
        grad_q = torch.bmm(grad_scores, k).view(ctx.shape).float() / math.sqrt(head_dim)
        grad_k, grad_v = (torch.bmm(x.transpose(1, 2), y).view(batch, kv_heads, length, head_dim).float()
                          for x, y in ((grad_scores, q), (probabilities, grad)))
        return grad_q, grad_k, grad_v, None


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
        # Queries of one key head lie together, so a group is one taller product.
        q = qk[:, :, : c.heads].unflatten(2, (c.kv_heads, -1)).permute(0, 2, 3, 1, 4)
        mixed = Attention.apply(q, qk[:, :, c.heads :].transpose(1, 2), qkv[:, :, rotated:].transpose(1, 2), mask)
        mixed = mixed.flatten(1, 2).transpose(1, 2).flatten(2)
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
        self.register_buffer("future", torch.ones(c.context, c.context, dtype=torch.bool).triu(1), False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("attention_output.weight", "down.weight"))
                torch.nn.init.normal_(parameter, std=0.05 / math.sqrt(2 * c.layers) if residual else 0.05)

    def forward(self, tokens, keep=None):
        """tokens [batch, length] -> logits [batch, length, vocab], or [kept, vocab] where `keep` [batch, length] is.

        A row may hold several documents, each beginning with the token `BOS`; none sees another.
        """
        c, (batch, length) = self.c, tokens.shape
        rotation = self.rotation[:length].unsqueeze(1)
        document = (tokens == tokenizer.BOS).cumsum(1)
        hidden = self.future[:length, :length] | (document.unsqueeze(1) != document.unsqueeze(2))
        dtype = torch.bfloat16 if torch.is_autocast_cpu_enabled() else torch.float32
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -1e9)[:, None, None]
        x = F.embedding(tokens, self.embedding)
        for layer in self.layers:
            x = layer(x, rotation, mask)
        if keep is not None:
            x = x[keep]
        return F.linear(self.output_norm(x), self.embedding)

    def parameter_count(self):
        return sum(p.numel() for p in self.parameters())

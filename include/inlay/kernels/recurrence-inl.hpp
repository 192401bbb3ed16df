// What layers compute that carry a state of fixed size from token to token: causal convolutions and linear recurrences.
//
// A state is taken from `before` and left in `after`, which do not overlap, so that a pass can be dropped. Tokens are taken in
// order and every channel, or column of a state, is a chain of its own: any split of tokens over calls and of channels or
// heads over threads gives the same bits.

#include <algorithm>
#include <cstddef>

#include "inlay/core/macros.hpp"

#if defined(INLAY_KERNELS_RECURRENCE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_RECURRENCE_INL_HPP_
#undef INLAY_KERNELS_RECURRENCE_INL_HPP_
#else
#define INLAY_KERNELS_RECURRENCE_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/kernels/float_lanes-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// The most taps of a convolution.
inline constexpr std::size_t kMaxTaps = 16;

// x[t][c] = activation(bias[c] + sum over j of weights[c][j] * x[t - (taps - 1) + j][c]) for channels [begin, end), in place.
//   taps     2 .. kMaxTaps
//   weights  [channels, taps], the tap of the token itself last; bias [channels] or nullptr
//   x        [tokens, stride]
//   before   [taps - 1, channels]: the inputs before the first token, the oldest first; after: the same behind the last
template <class Activate16>
HWY_NOINLINE void Convolve(std::size_t taps, const float* weights, const float* bias, std::size_t channels,
                           std::size_t begin, std::size_t end, std::size_t tokens, const float* before, float* x,
                           std::size_t stride, float* after) {
  const std::size_t history = taps - 1;
  for (std::size_t c = begin; c < end; c += 16) {
    const std::size_t count = std::min<std::size_t>(16, end - c);
    // The input `age` tokens before token t.
    const auto input = [&](std::size_t t, std::size_t age) HWY_ATTR {
      return LoadUpTo16(t >= age ? x + (t - age) * stride + c : before + (history + t - age) * channels + c, count);
    };
    Lanes16 taps16[kMaxTaps];
    for (std::size_t j = 0; j < taps; ++j) {
      alignas(64) float column[16] = {};
      for (std::size_t i = 0; i < count; ++i) column[i] = weights[(c + i) * taps + j];
      taps16[j] = Load16(column);
    }
    // Results take the place of inputs: the next state is put aside first, and the last token goes first.
    for (std::size_t i = 0; i < history; ++i) StoreUpTo16(input(tokens, history - i), after + i * channels + c, count);
    const Lanes16 start = bias == nullptr ? Set16(0.0f) : LoadUpTo16(bias + c, count);
    for (std::size_t t = tokens; t-- > 0;) {
      Lanes16 sum = start;
      for (std::size_t j = 0; j < taps; ++j) sum = MulAdd16(input(t, history - j), taps16[j], sum);
      StoreUpTo16(Activate16()(sum), x + t * stride + c, count);
    }
  }
}

// The tokens of one head as a linear recurrence sees them, each `..._stride` floats after the one before.
struct RecurrenceInputs {
  std::size_t tokens = 0;
  const float* keys = nullptr;     // [tokens, key_dim]
  const float* queries = nullptr;  // [tokens, key_dim]
  std::size_t key_stride = 0;      // of keys and queries
  const float* values = nullptr;   // [tokens, value_dim]
  std::size_t value_stride = 0;
  const float* decay = nullptr;     // [tokens]
  const float* strength = nullptr;  // [tokens]
  std::size_t scalar_stride = 0;    // of decay and strength
};

namespace detail {

// Columns of a state that go through all tokens together, 16 at a time: as many chains as registers hold, and few enough
// that their part of the state stays in the first level cache.
inline constexpr std::size_t kStateVectors = HWY_MAX_BYTES == 64 ? 8 : 4;

// Columns [column, column + 16 kVectors) of AdvanceState; the last sixteen may be only `count`.
template <bool kDelta, std::size_t kVectors>
HWY_INLINE void AdvanceColumns(std::size_t key_dim, std::size_t value_dim, const RecurrenceInputs& in, float skip,
                               std::size_t column, std::size_t count, const float* before, float* after, float* out,
                               std::size_t out_stride) {
  const auto load = [&](const float* row, std::size_t v) HWY_ATTR {
    return LoadUpTo16(row + column + v * 16, v + 1 == kVectors ? count : 16);
  };
  const auto store = [&](const Lanes16& value, float* row, std::size_t v) HWY_ATTR {
    StoreUpTo16(value, row + column + v * 16, v + 1 == kVectors ? count : 16);
  };
  for (std::size_t t = 0; t < in.tokens; ++t) {
    const float* const state = t == 0 ? before : after;
    const float* const key = in.keys + t * in.key_stride;
    const float* const query = in.queries + t * in.key_stride;
    const float* const value = in.values + t * in.value_stride;
    const Lanes16 decay = Set16(in.decay[t * in.scalar_stride]), strength = Set16(in.strength[t * in.scalar_stride]);
    Lanes16 written[kVectors], result[kVectors];
    if constexpr (kDelta) {
      Lanes16 known[kVectors];
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kVectors; ++v) known[v] = Set16(0.0f);
      for (std::size_t i = 0; i < key_dim; ++i) {
        const Lanes16 k = Set16(key[i]);
        HWY_UNROLL(8)
        for (std::size_t v = 0; v < kVectors; ++v) known[v] = MulAdd16(load(state + i * value_dim, v), k, known[v]);
      }
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kVectors; ++v) {
        written[v] = Mul16(strength, Sub16(load(value, v), Mul16(decay, known[v])));
      }
    } else {
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kVectors; ++v) written[v] = Mul16(strength, load(value, v));
    }
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kVectors; ++v) result[v] = kDelta ? Set16(0.0f) : Mul16(Set16(skip), load(value, v));
    for (std::size_t i = 0; i < key_dim; ++i) {
      const Lanes16 k = Set16(key[i]), q = Set16(query[i]);
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kVectors; ++v) {
        const Lanes16 next = MulAdd16(k, written[v], Mul16(decay, load(state + i * value_dim, v)));
        store(next, after + i * value_dim, v);
        result[v] = MulAdd16(next, q, result[v]);
      }
    }
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kVectors; ++v) store(result[v], out + t * out_stride, v);
  }
}

}  // namespace detail

// A linear recurrence over the tokens of one head, with the state S [key_dim, value_dim]:
//   S' = decay S + key u^T      out = S'^T query + skip value
//   u = strength value, or with kDelta  u = strength (value - (decay S)^T key), and then there is no skip
// Sources: Dao and Gu 2024, "Transformers are SSMs", https://arxiv.org/abs/2405.21060 (A, B, C, dt are decay, key, query,
// strength); Yang et al. 2024, "Gated Delta Networks", https://arxiv.org/abs/2412.06464. Both are computed token by token
// instead of in chunks: the state of some columns stays in the first level cache for all tokens, and the result does not
// depend on where chunks begin.
template <bool kDelta>
HWY_NOINLINE void AdvanceState(std::size_t key_dim, std::size_t value_dim, const RecurrenceInputs& in, float skip,
                               const float* before, float* after, float* out, std::size_t out_stride) {
  constexpr std::size_t kBlock = detail::kStateVectors * 16;
  std::size_t column = 0;
  for (; column + kBlock <= value_dim; column += kBlock) {
    detail::AdvanceColumns<kDelta, detail::kStateVectors>(key_dim, value_dim, in, skip, column, 16, before, after, out,
                                                          out_stride);
  }
  for (; column + 32 <= value_dim; column += 32) {
    detail::AdvanceColumns<kDelta, 2>(key_dim, value_dim, in, skip, column, 16, before, after, out, out_stride);
  }
  for (; column < value_dim; column += 16) {
    detail::AdvanceColumns<kDelta, 1>(key_dim, value_dim, in, skip, column, std::min<std::size_t>(16, value_dim - column),
                                      before, after, out, out_stride);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

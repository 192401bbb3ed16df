// Several residual streams (AltUp, Baykal et al. 2023, https://arxiv.org/abs/2301.13310) and a low-rank path past attention
// (LAuReL, Menghani et al. 2024, https://arxiv.org/abs/2411.07501), in the form of Gemma 3n's reference code.
//
// A layer first predicts every stream as a mixture of all, runs on the first prediction, and then corrects all streams by the
// difference between what it made and what was predicted. How streams mix depends on the token: a small router reads the
// stream that is at work. While a layer runs, scratch.residual is the first stream.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/layers/partition.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_LAYERS_STREAMS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_STREAMS_INL_HPP_
#undef INLAY_LAYERS_STREAMS_INL_HPP_
#else
#define INLAY_LAYERS_STREAMS_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/layers/adapter-inl.hpp"
#include "inlay/layers/linear-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// x[i] *= the length of `like` / the length of x.
HWY_INLINE void MatchLength(const float* like, std::size_t n, float* x) {
  Scale(std::sqrt(SumOfSquares(like, n)) / std::sqrt(SumOfSquares(x, n)), n, x);
}

// The streams of the embeddings: the first is the residual, the others are projections of it that are as long.
template <class FormatList, class Spec>
HWY_NOINLINE void SpreadStreams(const Spec& spec, const ModelWeights& weights, std::size_t tokens, const Scratch& scratch,
                                ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const auto dim = spec.dim();
  const std::size_t stride = scratch.shape.tokens * dim;
  float* const rows = scratch.streams.rows;
  std::copy_n(scratch.residual, tokens * dim, rows);
  NormalizeRows(spec, scratch.residual, nullptr, nullptr, tokens, KindsFor(weights.streams_in), scratch.normalized, executor);
  for (std::size_t i = 1; i < config.streams.count; ++i) {
    Multiply<FormatList>(weights.streams_in.type, weights.streams_in.expert(i - 1), nullptr, dim, dim, scratch.normalized, tokens,
                         Output{rows + i * stride, dim, false}, executor);
    for (std::size_t t = 0; t < tokens; ++t) MatchLength(rows + t * dim, dim, rows + i * stride + t * dim);
  }
}

// residual = the mean of the streams, the others projected back and as long as the first.
template <class FormatList, class Spec>
HWY_NOINLINE void MergeStreams(const Spec& spec, const ModelWeights& weights, std::size_t tokens, const Scratch& scratch,
                               ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const auto dim = spec.dim();
  const std::size_t stride = scratch.shape.tokens * dim;
  const float* const rows = scratch.streams.rows;
  std::copy_n(rows, tokens * dim, scratch.residual);
  for (std::size_t i = 1; i < config.streams.count; ++i) {
    NormalizeRows(spec, rows + i * stride, nullptr, nullptr, tokens, KindsFor(weights.streams_out), scratch.normalized, executor);
    Multiply<FormatList>(weights.streams_out.type, weights.streams_out.expert(i - 1), nullptr, dim, dim, scratch.normalized,
                         tokens, Output{scratch.branch, dim, false}, executor);
    for (std::size_t t = 0; t < tokens; ++t) {
      MatchLength(rows + t * dim, dim, scratch.branch + t * dim);
      AddResidual(scratch.branch + t * dim, dim, scratch.residual + t * dim);
    }
  }
  Scale(1.0f / static_cast<float>(config.streams.count), tokens * dim, scratch.residual);
}

// tanh(R norm(x) / dim): how much a token is of each kind.  memory: [dim], kinds: [streams.count]
template <class Spec>
HWY_INLINE void StreamKinds(const Spec& spec, const LayerWeights& layer, const float* x, float* memory, float* kinds) {
  const ModelConfig& config = spec.config();
  const auto dim = spec.dim();
  NormalizeRow(spec, x, layer.stream_router_norm, nullptr, dim, memory);
  Scale(1.0f / static_cast<float>(std::size_t{dim}), dim, memory);
  for (std::size_t i = 0; i < config.streams.count; ++i) kinds[i] = Dot(layer.stream_router + i * dim, memory, dim);
  SoftCap(1.0f, config.streams.count, kinds);
}

// stream[i] += the sum over k of c[i][k] * stream[k], with c = P kinds; and the residual is the first.
template <class Spec>
HWY_NOINLINE void PredictStreams(const Spec& spec, const LayerWeights& layer, std::size_t tokens, const Scratch& scratch,
                                 ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const auto dim = spec.dim();
  const std::size_t count = config.streams.count, stride = scratch.shape.tokens * dim;
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    std::array<float, 16> kinds;  // kMaxStreams, in whole vectors
    std::array<float, kMaxStreams * kMaxStreams> mix;
    for (std::size_t t = begin; t < end; ++t) {
      float* const first = scratch.streams.rows + t * dim;
      StreamKinds(spec, layer, first, scratch.normalized.values + t * scratch.normalized.stride, kinds.data());
      for (std::size_t i = 0; i < count * count; ++i) mix[i] = Dot(layer.stream_prediction + i * count, kinds.data(), count);
      ForEach16(dim, [&](std::size_t at, std::size_t n) HWY_ATTR {
        std::array<Lanes16, kMaxStreams> before;
        for (std::size_t k = 0; k < count; ++k) before[k] = LoadUpTo16(first + k * stride + at, n);
        for (std::size_t i = 0; i < count; ++i) {
          Lanes16 sum = Mul16(Set16(mix[i * count]), before[0]);
          for (std::size_t k = 1; k < count; ++k) sum = MulAdd16(Set16(mix[i * count + k]), before[k], sum);
          StoreUpTo16(Add16(sum, before[i]), first + i * stride + at, n);
        }
      });
      std::copy_n(first, std::size_t{dim}, scratch.residual + t * dim);
    }
  });
}

// stream[i] += (1 + c[i]) * (residual - stream[0]) with c = C kinds. Leaves stream_scale * stream[0] in scratch.normalized, in the
// representations that the gate of the layer's input needs.
template <class Spec>
HWY_NOINLINE void CorrectStreams(const Spec& spec, const LayerWeights& layer, std::size_t tokens, const Scratch& scratch,
                                 ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const auto dim = spec.dim();
  const std::size_t count = config.streams.count, stride = scratch.shape.tokens * dim;
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    std::array<float, 16> kinds;  // kMaxStreams, in whole vectors
    for (std::size_t t = begin; t < end; ++t) {
      float* const first = scratch.streams.rows + t * dim;
      float* const result = scratch.residual + t * dim;
      float* const memory = scratch.normalized.values + t * scratch.normalized.stride;
      StreamKinds(spec, layer, result, memory, kinds.data());
      AddScaled(first, -1.0f, dim, result);
      for (std::size_t i = 0; i < count; ++i) {
        AddScaled(result, 1.0f + Dot(layer.stream_correction + i * count, kinds.data(), count), dim, first + i * stride);
      }
      ActivateMultiply<Identity16>(first, layer.stream_scale, dim, memory);
    }
    QuantizeRows(KindsFor(layer.layer_input_gate), dim, begin, end, scratch.normalized);
  });
}

// streams.bypass = h + norm(B A h), where h is what attention has read (scratch.normalized).
template <class FormatList, class Spec>
HWY_NOINLINE void MakeBypass(const Spec& spec, const LayerWeights& layer, std::size_t tokens, const LayerAdapters& adapters,
                             const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const auto dim = spec.dim();
  const DynamicExtent rank{config.streams.bypass_rank};
  const Activations& low = scratch.streams.low;
  const auto multiply = [&](const PackedMatrix& matrix, TensorRole role, std::size_t rows, auto cols, const Activations& x,
                            const Output& out) HWY_ATTR {
    MultiplyChanged<FormatList>(matrix.type, matrix.data, nullptr, role, rows, cols, x, tokens, adapters, out, executor);
  };
  multiply(layer.bypass_down, TensorRole::kBypassDown, rank, dim, scratch.normalized, Output{low.values, low.stride, false});
  QuantizeForProduct(KindsFor(layer.bypass_up), rank, tokens, low, executor);
  multiply(layer.bypass_up, TensorRole::kBypassUp, dim, rank, low, Output{scratch.streams.bypass, dim, false});
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = begin; t < end; ++t) {
      float* const row = scratch.streams.bypass + t * dim;
      NormalizeRow(spec, row, layer.bypass_norm, nullptr, dim, row);
      AddResidual(scratch.normalized.values + t * scratch.normalized.stride, dim, row);
    }
  });
}

// residual = (residual + bypass) / sqrt(2).
template <class Spec>
HWY_INLINE void JoinBypass(const Spec& spec, std::size_t tokens, const Scratch& scratch) {
  const std::size_t count = tokens * spec.config().dim;
  AddResidual(scratch.streams.bypass, count, scratch.residual);
  Scale(std::sqrt(0.5f), count, scratch.residual);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_STREAMS_INL_HPP_

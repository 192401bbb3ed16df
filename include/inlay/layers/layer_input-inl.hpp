// Inputs of each layer's own (per-layer embeddings): what a layer knows of a token besides the residual stream. Made once per
// pass for all layers, from a second table of embeddings and from the first one's; behind its two branches, a layer opens a
// gate of the residual stream for it and adds the result.
// Source: the reference code of Gemma 3n and Gemma 4.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/partition.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_LAYERS_LAYER_INPUT_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_LAYER_INPUT_INL_HPP_
#undef INLAY_LAYERS_LAYER_INPUT_INL_HPP_
#else
#define INLAY_LAYERS_LAYER_INPUT_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/layers/feed_forward-inl.hpp"
#include "inlay/layers/linear-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// scratch.layer_input.values = (norm(P residual / sqrt(dim)) + sqrt(width) * the token's row of the table) / sqrt(2), the norm over
// each layer's part. The residual is the tokens' embeddings.
template <class FormatList, class Spec>
HWY_NOINLINE void MakeLayerInputs(const Spec& spec, const ModelWeights& weights, std::span<const SequenceInput> sequences,
                                  std::size_t tokens, const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t width = config.layer_input_dim, all = config.layers * width;
  const PackedMatrix& projection = weights.layer_input_projection;
  NormalizeRows(spec, scratch.residual, nullptr, nullptr, tokens, KindsFor(projection), scratch.normalized, executor);
  Multiply<FormatList>(projection.type, projection.data, nullptr, all, spec.dim(), scratch.normalized, tokens,
                       Output{scratch.layer_input.values, all, false}, executor);
  const float down = 1.0f / std::sqrt(static_cast<float>(config.dim)), up = std::sqrt(static_cast<float>(width));
  const float half = std::sqrt(0.5f);
  std::size_t row = 0;
  for (const SequenceInput& sequence : sequences) {
    ForTokenRanges(executor, sequence.tokens.size(), [&](std::size_t begin, std::size_t end) HWY_ATTR {
      for (std::size_t t = begin; t < end; ++t) {
        float* const values = scratch.layer_input.values + (row + t) * all;
        float* const table = scratch.layer_input.table + (row + t) * all;
        UnpackRow<FormatList>(weights.layer_input_table.type, weights.layer_input_table.data, all,
                              static_cast<std::size_t>(sequence.tokens[t]), table);
        Scale(down, all, values);
        for (std::size_t at = 0; at < all; at += width) {
          RmsNorm(values + at, weights.layer_input_norm, width, config.norm_epsilon, values + at);
        }
        AddScaled(table, up, all, values);
        Scale(half, all, values);
      }
    });
    row += sequence.tokens.size();
  }
}

// out[t] += norm(W (activation(G x) * this layer's input)), with x in scratch.normalized, for each of `outputs` rows of tokens
// that are `stride` apart.
template <class FormatList, class Spec>
HWY_NOINLINE void AddLayerInput(const Spec& spec, const LayerWeights& layer, std::size_t index, std::size_t tokens,
                                const LayerAdapters& adapters, const Scratch& scratch, float* out, std::size_t outputs,
                                std::size_t stride, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const auto dim = spec.dim();
  const std::size_t width = config.layer_input_dim, all = config.layers * width;
  const Activations& gated = scratch.layer_input.gated;
  const PackedMatrix& gate = layer.layer_input_gate;
  const PackedMatrix& output = layer.layer_input_output;
  adapters.Prepare({TensorRole::kLayerInputGate}, dim, scratch.normalized, executor);
  ForRowRanges(executor, std::array{width}, RowUnit(tokens), width * dim * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 const Output gates{gated.values, gated.stride, false};
                 MatMul<FormatList>(gate.type, gate.data, width, dim, scratch.normalized, 0, tokens, begin, end, gates);
                 adapters.Add(0, TensorRole::kLayerInputGate, width, begin, end, gates);
                 for (std::size_t t = 0; t < tokens; ++t) {
                   JoinHidden(config, scratch.layer_input.values + t * all + index * width + begin, end - begin,
                              gated.values + t * gated.stride + begin);
                 }
               });
  QuantizeForProduct(KindsFor(output), width, tokens, gated, executor);
  MultiplyChanged<FormatList>(output.type, output.data, nullptr, TensorRole::kLayerInputOutput, dim, DynamicExtent{width}, gated,
                              tokens, adapters, Output{scratch.branch, dim, false}, executor);
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = begin; t < end; ++t) {
      float* const row = scratch.branch + t * dim;
      NormalizeRow(spec, row, layer.layer_input_post_norm, nullptr, dim, row);
      for (std::size_t i = 0; i < outputs; ++i) AddResidual(row, dim, out + i * stride + t * dim);
    }
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_LAYER_INPUT_INL_HPP_

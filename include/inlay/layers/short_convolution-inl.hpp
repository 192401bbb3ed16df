// LFM2's layers without attention: a causal convolution over a few tokens, between two gates. With B, C and x linear in the
// layer's input: y = C * convolution(B * x), then the output projection.
// Source: Liquid AI's modelling code of LFM2.

#include <array>
#include <cstddef>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/partition.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_LAYERS_SHORT_CONVOLUTION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_SHORT_CONVOLUTION_INL_HPP_
#undef INLAY_LAYERS_SHORT_CONVOLUTION_INL_HPP_
#else
#define INLAY_LAYERS_SHORT_CONVOLUTION_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/kernels/recurrence-inl.hpp"
#include "inlay/layers/adapter-inl.hpp"
#include "inlay/layers/linear-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// Convolves channels [begin, end) of the inputs [tokens, state_input_dim] of all sequences in place, each with the inputs
// before it from its own state, and leaves them in the next.
template <class Activate16>
HWY_INLINE void ConvolveSequences(const ModelConfig& config, const LayerWeights& weights, std::size_t layer,
                                  std::span<const SequenceInput> sequences, std::size_t begin, std::size_t end, float* x) {
  const std::size_t width = config.state_input_dim();
  for (const SequenceInput& sequence : sequences) {
    const std::size_t tokens = sequence.tokens.size();
    if (tokens == 0) continue;
    Convolve<Activate16>(config.state.kernel, weights.state_convolution, weights.state_convolution_bias, width, begin, end,
                         tokens, sequence.cache->state(layer).data(), x, width, sequence.cache->next_state(layer).data());
    x += tokens * width;
  }
}

// residual (or the branch) += output * mixed.
template <class FormatList, class Spec, Extent Cols>
HWY_INLINE void MultiplyStateOutput(const Spec& spec, const PackedMatrix& output, Cols cols, std::size_t tokens,
                                    const LayerAdapters& adapters, const Scratch& scratch, ExecutorRef executor) {
  const std::size_t dim = spec.config().dim;
  MultiplyChanged<FormatList>(output.type, output.data, nullptr, TensorRole::kStateOutput, dim, cols, scratch.mixed, tokens,
                              adapters, BranchOutput(spec, scratch), executor);
}

// residual (or the branch) += the layer's output. One task computes the same channels of B, C and x, convolves and gates them.
template <class FormatList, class Spec>
HWY_INLINE void AddShortConvolution(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                                    std::span<const SequenceInput> sequences, std::size_t tokens,
                                    const LayerAdapters& adapters, const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t dim = config.dim;
  const Activations& input = scratch.normalized;
  const Activations& mixed = scratch.mixed;
  NormalizeRows(spec, scratch.residual, weights.attention_norm, weights.attention_norm_bias, tokens,
                KindsFor(weights.state_input, weights.state_gate, weights.state_strength), input, executor);
  adapters.Prepare({TensorRole::kStateInput, TensorRole::kStateGate, TensorRole::kStateStrength}, dim, input, executor);
  ForRowRanges(executor, std::array{dim}, RowUnit(tokens), 3 * dim * dim * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 const auto project = [&](const PackedMatrix& matrix, std::size_t slot, TensorRole role, const Output& out) HWY_ATTR {
                   MatMul<FormatList>(matrix.type, matrix.data, dim, spec.dim(), input, 0, tokens, begin, end, out);
                   adapters.Add(slot, role, dim, begin, end, out);
                 };
                 project(weights.state_input, 0, TensorRole::kStateInput, {scratch.state.input, dim, false});
                 project(weights.state_gate, 1, TensorRole::kStateGate, {scratch.state.gate, dim, false});
                 project(weights.state_strength, 2, TensorRole::kStateStrength, {mixed.values, mixed.stride, false});
                 const std::size_t count = end - begin;
                 for (std::size_t t = 0; t < tokens; ++t) {
                   float* const x = scratch.state.input + t * dim + begin;
                   ActivateMultiply<Identity16>(x, mixed.values + t * mixed.stride + begin, count, x);
                 }
                 ConvolveSequences<Identity16>(config, weights, layer, sequences, begin, end, scratch.state.input);
                 for (std::size_t t = 0; t < tokens; ++t) {
                   ActivateMultiply<Identity16>(scratch.state.input + t * dim + begin, scratch.state.gate + t * dim + begin,
                                                count, mixed.values + t * mixed.stride + begin);
                 }
               });
  const PackedMatrix& output = weights.state_output;
  QuantizeForProduct(KindsFor(output), dim, tokens, mixed, executor);
  MultiplyStateOutput<FormatList>(spec, output, spec.dim(), tokens, adapters, scratch, executor);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_SHORT_CONVOLUTION_INL_HPP_

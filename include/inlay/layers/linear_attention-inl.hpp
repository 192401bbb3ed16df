// Layers whose heads keep a matrix instead of keys and values: gated DeltaNet (Qwen3-Next, Qwen 3.5) and Mamba-2 (Granite 4
// H). Both project the layer's input to keys, queries and values, a gate, and per head what is kept and what is written;
// convolve the former three over a few tokens; run a linear recurrence (kernels/recurrence-inl.hpp); gate and normalise its
// results; and project them back.
// What differs: DeltaNet normalises keys and queries, corrects what it writes, and normalises each head before the gate;
// Mamba-2 adds the values, scaled, to the result and normalises groups of heads after the gate. The convolved inputs are
// queries, keys, values in DeltaNet; values, keys, queries in Mamba-2 (x, B, C).

#include <array>
#include <cmath>
#include <cstddef>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/partition.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_LAYERS_LINEAR_ATTENTION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_LINEAR_ATTENTION_INL_HPP_
#undef INLAY_LAYERS_LINEAR_ATTENTION_INL_HPP_
#else
#define INLAY_LAYERS_LINEAR_ATTENTION_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/kernels/recurrence-inl.hpp"
#include "inlay/layers/linear-inl.hpp"
#include "inlay/layers/short_convolution-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// ln(1 + e^x), which is x itself beyond 20 in float32.
inline float SoftPlus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

// Where queries, keys and values begin in a row of convolved inputs.
struct StateColumns {
  explicit constexpr StateColumns(const StateConfig& state) {
    const std::size_t keys_dim = std::size_t{state.groups} * state.key_dim;
    const bool delta = state.kind == StateKind::kDelta;
    queries = delta ? 0 : state.inner_dim + keys_dim;
    keys = delta ? keys_dim : state.inner_dim;
    values = delta ? 2 * keys_dim : 0;
  }
  std::size_t queries = 0, keys = 0, values = 0;
};

// The inputs of the recurrence: projected, convolved, keys and queries normalised. One task computes whole heads.
template <class FormatList, class Spec>
HWY_INLINE void ProjectState(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                             std::span<const SequenceInput> sequences, std::size_t tokens, const LayerAdapters& adapters,
                             const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const StateConfig& state = config.state;
  const bool delta = state.kind == StateKind::kDelta;
  const std::size_t width = config.state_input_dim(), inner = state.inner_dim, heads = state.heads;
  const std::size_t key_dim = state.key_dim, keys_end = 2 * std::size_t{state.groups} * key_dim;
  const Activations& input = scratch.normalized;
  ActivationKinds kinds = KindsFor(weights.state_input, weights.state_gate, weights.state_step);
  if (delta) kinds |= KindsFor(weights.state_strength);
  NormalizeRows(spec, scratch.residual, weights.attention_norm, weights.attention_norm_bias, tokens, kinds, input, executor);
  static constexpr std::array kRoles{TensorRole::kStateInput, TensorRole::kStateGate, TensorRole::kStateStep,
                                     TensorRole::kStateStrength};
  adapters.Prepare({kRoles[0], kRoles[1], kRoles[2], kRoles[3]}, config.dim, input, executor);
  const std::array rows{width, inner, heads, delta ? heads : 0};
  ForRowRanges(executor, rows, HeadUnit(key_dim, tokens), (width + inner + 2 * heads) * config.dim * tokens,
               [&](std::size_t part, std::size_t begin, std::size_t end) HWY_ATTR {
                 const auto project = [&](const PackedMatrix& matrix, float* out) HWY_ATTR {
                   const Output to{out, rows[part], false};
                   MatMul<FormatList>(matrix.type, matrix.data, rows[part], spec.dim(), input, 0, tokens, begin, end, to);
                   adapters.Add(part, kRoles[part], rows[part], begin, end, to);
                 };
                 switch (part) {
                   case 0: project(weights.state_input, scratch.state.input); break;
                   case 1: return project(weights.state_gate, scratch.state.gate);
                   case 2: return project(weights.state_step, scratch.state.decay);
                   default: return project(weights.state_strength, scratch.state.strength);
                 }
                 ConvolveSequences<Silu16>(config, weights, layer, sequences, begin, end, scratch.state.input);
                 if (!delta) return;
                 const float query_scale = 1.0f / std::sqrt(static_cast<float>(key_dim));
                 for (std::size_t t = 0; t < tokens; ++t) {
                   for (std::size_t at = begin; at < end && at < keys_end; at += key_dim) {
                     float* const head = scratch.state.input + t * width + at;
                     UnitNorm(head, key_dim, config.norm_epsilon, at < keys_end / 2 ? query_scale : 1.0f, head);
                   }
                 }
               });
}

// What head `head` keeps of its state and how much of a value it writes, from the raw projections, in place.
//   step = ln(1 + e^(projection + bias)), decay = e^(A step) with A below 0
//   strength = step (Mamba-2), or sigmoid(projection) (DeltaNet)
inline void FinishScalars(const StateConfig& state, const LayerWeights& weights, std::size_t head, std::size_t tokens,
                          float* decay, float* strength) {
  for (std::size_t t = 0; t < tokens; ++t) {
    float& kept = decay[t * state.heads + head];
    float& written = strength[t * state.heads + head];
    const float step = SoftPlus(kept + weights.state_step_bias[head]);
    kept = std::exp(weights.state_decay[head] * step);
    written = state.kind == StateKind::kDelta ? 1.0f / (1.0f + std::exp(-written)) : step;
  }
}

// mixed = the gated results of all heads. The recurrence of a head goes through the tokens of every sequence in turn.
template <bool kDelta, class Spec>
HWY_NOINLINE void RunRecurrence(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                                std::span<const SequenceInput> sequences, std::size_t tokens, const Scratch& scratch,
                                ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const StateConfig& state = config.state;
  const Activations& mixed = scratch.mixed;
  const StateColumns columns(state);
  const std::size_t width = config.state_input_dim(), inner = state.inner_dim, heads = state.heads;
  const std::size_t key_dim = state.key_dim, value_dim = state.value_dim();
  const std::size_t state_begin = (state.kernel - std::size_t{1}) * width;
  ForRowRanges(executor, std::array{heads}, 1, (kDelta ? 3 : 2) * inner * key_dim * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 for (std::size_t head = begin; head < end; ++head) {
                   FinishScalars(state, weights, head, tokens, scratch.state.decay, scratch.state.strength);
                   const std::size_t group = state.group_of(head), offset = state_begin + head * key_dim * value_dim;
                   std::size_t row = 0;
                   for (const SequenceInput& sequence : sequences) {
                     if (sequence.tokens.empty()) continue;
                     const float* const from = scratch.state.input + row * width;
                     RecurrenceInputs in;
                     in.tokens = sequence.tokens.size();
                     in.keys = from + columns.keys + group * key_dim;
                     in.queries = from + columns.queries + group * key_dim;
                     in.key_stride = in.value_stride = width;
                     in.values = from + columns.values + head * value_dim;
                     in.decay = scratch.state.decay + row * heads + head;
                     in.strength = scratch.state.strength + row * heads + head;
                     in.scalar_stride = heads;
                     AdvanceState<kDelta>(key_dim, value_dim, in, kDelta ? 0.0f : weights.state_skip[head],
                                          sequence.cache->state(layer).data() + offset,
                                          sequence.cache->next_state(layer).data() + offset,
                                          mixed.values + row * mixed.stride + head * value_dim, mixed.stride);
                     row += in.tokens;
                   }
                   for (std::size_t t = 0; t < tokens; ++t) {
                     float* const result = mixed.values + t * mixed.stride + head * value_dim;
                     if (kDelta) RmsNorm(result, weights.state_norm, value_dim, config.norm_epsilon, result);
                     ActivateMultiply<Silu16>(scratch.state.gate + t * inner + head * value_dim, result, value_dim, result);
                   }
                 }
               });
}

// residual (or the branch) += the layer's output.
template <class FormatList, class Spec>
HWY_INLINE void AddLinearAttention(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                                   std::span<const SequenceInput> sequences, std::size_t tokens, const LayerAdapters& adapters,
                                   const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const StateConfig& state = config.state;
  const Activations& mixed = scratch.mixed;
  const PackedMatrix& output = weights.state_output;
  ProjectState<FormatList>(spec, weights, layer, sequences, tokens, adapters, scratch, executor);
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.state.kind == StateKind::kDelta; })) {
    if (state.kind == StateKind::kDelta) {
      RunRecurrence<true>(spec, weights, layer, sequences, tokens, scratch, executor);
      QuantizeForProduct(KindsFor(output), state.inner_dim, tokens, mixed, executor);
    }
  }
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.state.kind == StateKind::kSpace; })) {
    if (state.kind == StateKind::kSpace) {
      RunRecurrence<false>(spec, weights, layer, sequences, tokens, scratch, executor);
      const std::size_t group_dim = state.inner_dim / state.groups;
      ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
        for (std::size_t t = begin; t < end; ++t) {
          for (std::size_t at = 0; at < state.inner_dim; at += group_dim) {
            float* const group = mixed.values + t * mixed.stride + at;
            RmsNorm(group, weights.state_norm + at, group_dim, config.norm_epsilon, group);
          }
        }
        QuantizeRows(KindsFor(output), state.inner_dim, begin, end, mixed);
      });
    }
  }
  MultiplyStateOutput<FormatList>(spec, output, spec.state_inner_dim(), tokens, adapters, scratch, executor);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_LINEAR_ATTENTION_INL_HPP_

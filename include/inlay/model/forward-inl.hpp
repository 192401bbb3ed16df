// The forward pass: tokens in, logits out. Reads top to bottom as the model computes.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/kernels/rope.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_MODEL_FORWARD_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_MODEL_FORWARD_INL_HPP_
#undef INLAY_MODEL_FORWARD_INL_HPP_
#else
#define INLAY_MODEL_FORWARD_INL_HPP_
#endif

#include "inlay/layers/adapter-inl.hpp"
#include "inlay/layers/attention-inl.hpp"
#include "inlay/layers/feed_forward-inl.hpp"
#include "inlay/layers/latent_attention-inl.hpp"
#include "inlay/layers/layer_input-inl.hpp"
#include "inlay/layers/linear_attention-inl.hpp"
#include "inlay/layers/linear-inl.hpp"
#include "inlay/layers/short_convolution-inl.hpp"
#include "inlay/layers/streams-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// 1 + temperature * ln(1 + floor((position + offset) / length)), the factor on a query (see AttentionConfig).
inline float QueryTemperature(const AttentionConfig& attention, std::size_t position) {
  const double length = static_cast<double>(attention.temperature_length);
  const double periods = std::floor((static_cast<double>(position) + static_cast<double>(attention.temperature_offset)) / length);
  return static_cast<float>(1.0 + static_cast<double>(attention.temperature) * std::log(1.0 + periods));
}

// The embedding of one token at a position: rows of up to three tables, added, scaled and normalised.  out: [dim]
template <class FormatList, class Spec>
HWY_INLINE void EmbedToken(const Spec& spec, const ModelWeights& weights, const SequenceInput& sequence, TokenId token,
                           std::size_t position, float* other, float* out) {
  const ModelConfig& config = spec.config();
  const auto row = [&](const PackedMatrix& table, std::size_t index, float* to) HWY_ATTR {
    UnpackRow<FormatList>(table.type, table.data, config.dim, index, to);
  };
  row(weights.token_embedding, static_cast<std::size_t>(token), out);
  LayerAdapters::AddEmbedding(sequence, token, config.dim, out);
  if (config.embedding_scale != 1.0f) Scale(config.embedding_scale, config.dim, out);
  if (config.token_types != 0) {
    row(weights.token_types, 0, other);
    AddResidual(other, config.dim, out);
  }
  if (config.learned_positions) {
    row(weights.position_embedding, position, other);
    AddResidual(other, config.dim, out);
  }
  if (config.norm.embedding) {
    NormalizeRow(spec, out, weights.embedding_norm, weights.embedding_norm_bias, spec.dim(), out);
  }
}

// residual[t] = the token's embedding; and what depends on positions alone: rotations and temperatures.
template <class FormatList, class Spec>
HWY_INLINE void EmbedTokens(const Spec& spec, const ModelWeights& weights, std::span<const SequenceInput> sequences,
                            const Scratch& scratch, double magnitude, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  std::size_t row = 0;
  for (const SequenceInput& sequence : sequences) {
    const std::size_t start = sequence.cache->length();
    ForTokenRanges(executor, sequence.tokens.size(), [&](std::size_t begin, std::size_t end) HWY_ATTR {
      for (std::size_t t = begin; t < end; ++t) {
        const std::size_t at = row + t, position = start + t;
        // The row where the first norm will go is free until then.
        EmbedToken<FormatList>(spec, weights, sequence, sequence.tokens[t], position,
                               scratch.normalized.values + at * scratch.normalized.stride,
                               scratch.residual + at * config.dim);
        RopeTable(scratch.rotations.frequencies, config.rope_dim / 2, position, magnitude,
                  scratch.rotations.turns + at * config.rope_dim);
        if (config.rope.local_base != 0.0f) {
          const Rotations& local = scratch.local_rotations;
          RopeTable(local.frequencies, local.dim / 2, position, 1.0, local.turns + at * local.dim);
        }
        if (config.attention.temperature != 0.0f) {
          scratch.temperatures[at] = QueryTemperature(config.attention, position);
        }
      }
    });
    row += sequence.tokens.size();
  }
}

// residual (or the branch) += attention(norm(residual)), or what a layer has instead of attention. `spec` has the layer's widths.
template <class FormatList, class KvList, class Spec>
HWY_INLINE void AddAttentionOf(const Spec& spec, const LayerWeights& layer, std::size_t index,
                             std::span<const SequenceInput> sequences, std::size_t tokens,
                             const LayerAdapters& adapters, const Scratch& scratch, ExecutorRef executor) {
  [[maybe_unused]] const ModelConfig& config = spec.config();
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.state.kind == StateKind::kConvolution; })) {
    if (config.KeepsState(index) && config.state.kind == StateKind::kConvolution) {
      return AddShortConvolution<FormatList>(spec, layer, index, sequences, tokens, adapters, scratch, executor);
    }
  }
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.state.kind > StateKind::kConvolution; })) {
    if (config.KeepsState(index)) {
      return AddLinearAttention<FormatList>(spec, layer, index, sequences, tokens, adapters, scratch, executor);
    }
  }
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.latent.rank != 0; })) {
    if (config.latent.rank != 0) {
      ProjectLatent<FormatList, KvList>(spec, layer, index, sequences, tokens, adapters, scratch, executor);
      Attend<KvList>(spec, layer, index, sequences, scratch, executor);
      MixLatentValues<FormatList>(spec, layer, tokens, adapters, scratch, executor);
      AddAttentionOutput<FormatList>(spec, layer, tokens, adapters, scratch, executor);
      return;
    }
  }
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.latent.rank == 0; })) {
    ProjectQueryKeyValue<FormatList, KvList>(spec, layer, index, sequences, tokens, adapters, scratch, executor);
  }
  Attend<KvList>(spec, layer, index, sequences, scratch, executor);
  AddAttentionOutput<FormatList>(spec, layer, tokens, adapters, scratch, executor);
}

// The same of a layer with a window or without, whose widths may differ.
template <class FormatList, class KvList, class Spec>
HWY_INLINE void AddAttention(const Spec& spec, const LayerWeights& layer, std::size_t index,
                             std::span<const SequenceInput> sequences, std::size_t tokens,
                             const LayerAdapters& adapters, const Scratch& scratch, ExecutorRef executor) {
  const auto add = [&](const auto& seen) HWY_ATTR {
    AddAttentionOf<FormatList, KvList>(seen, layer, index, sequences, tokens, adapters, scratch, executor);
  };
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.local.head_dim != 0; })) {
    if (spec.config().local.head_dim != 0 && spec.config().IsLocal(index)) return add(spec.OfLocalLayers());
  }
  add(spec);
}

// What a layer does behind its two branches: corrects the other streams, adds its own input of the tokens, is scaled.
template <class FormatList, class Spec>
HWY_INLINE void FinishLayer(const Spec& spec, const LayerWeights& layer, std::size_t index,
                            std::span<const SequenceInput> sequences, std::size_t tokens, const LayerAdapters& adapters,
                            const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t dim = config.dim, stride = scratch.shape.tokens * dim;
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.layer_input_dim != 0; })) {
    if (config.streams.count != 0) {
      CorrectStreams(spec, layer, tokens, scratch, executor);
      AddLayerInput<FormatList>(spec, layer, index, tokens, adapters, scratch, scratch.streams.rows + stride,
                                config.streams.count - 1, stride, executor);
      for (std::size_t i = 0; i < config.streams.count; ++i) {
        AddDirections(sequences, index, dim, scratch.streams.rows + i * stride);
      }
      return;
    }
    if (config.layer_input_dim != 0) {
      NormalizeRows(spec, scratch.residual, nullptr, nullptr, tokens, KindsFor(layer.layer_input_gate), scratch.normalized,
                    executor);
      AddLayerInput<FormatList>(spec, layer, index, tokens, adapters, scratch, scratch.residual, 1, 0, executor);
    }
  }
  if (config.layer_scale) Scale(*layer.layer_scale, tokens * dim, scratch.residual);
  AddDirections(sequences, index, dim, scratch.residual);
}

// The last hidden states of the positions that the sequences ask for, in order, into scratch.normalized [outputs, dim].
template <class Spec>
HWY_INLINE std::size_t FinishHidden(const Spec& spec, const ModelWeights& weights,
                                    std::span<const SequenceInput> sequences, ActivationKinds kinds,
                                    const Scratch& scratch, ExecutorRef executor) {
  const std::size_t dim = spec.config().dim;
  // The rows asked for move to the front; a row never moves past one that is still needed.
  std::size_t row = 0, outputs = 0;
  for (const SequenceInput& sequence : sequences) {
    const std::size_t count = sequence.tokens.size(), wanted = OutputCount(sequence);
    for (std::size_t i = count - wanted; i < count; ++i, ++outputs) {
      const float* from = scratch.residual + (row + i) * dim;
      if (outputs != row + i) std::copy(from, from + dim, scratch.residual + outputs * dim);
    }
    row += count;
  }
  if (outputs == 0) return 0;
  NormalizeRows(spec, scratch.residual, weights.output_norm, weights.output_norm_bias, outputs, kinds, scratch.normalized,
                executor);
  return outputs;
}

// The logits of scratch.normalized's first rows, into scratch.logits [outputs, vocab].
template <class FormatList, class Spec>
HWY_INLINE void ComputeLogits(const Spec& spec, const ModelWeights& weights, std::size_t outputs, const LayerAdapters& adapters,
                              const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t vocab = config.vocab;
  const Output logits{scratch.logits, vocab, false};
  adapters.Prepare({TensorRole::kOutput}, config.dim, scratch.normalized, executor);
  Multiply<FormatList>(weights.output.type, weights.output.data, weights.output_bias, vocab, spec.dim(), scratch.normalized,
                       outputs, logits, executor, [&](std::size_t begin, std::size_t end) HWY_ATTR {
                         adapters.Add(0, TensorRole::kOutput, vocab, begin, end, logits);
                       });
  if (config.logit_divisor != 1.0f) Scale(1.0f / config.logit_divisor, outputs * vocab, scratch.logits);
  if (config.logit_softcap != 0.0f) SoftCap(config.logit_softcap, outputs * vocab, scratch.logits);
}

// One pass over all sequences' new tokens. The arguments have been checked (model.hpp); caches are not advanced.
// `magnitude` is that of rotated queries and keys. Returns the number of rows of the result. At most five synchronisations a
// layer that attends to keys and values as they are (nine with latents), whatever the number of tokens when there is one, as normalising and quantising one row is cheaper than sharing it.
template <class FormatList, class KvList, class Spec>
HWY_NOINLINE std::size_t ForwardPass(const Spec& spec, const ModelWeights& weights,
                                     std::span<const SequenceInput> sequences, std::size_t tokens, const Scratch& scratch,
                                     double magnitude, PassResult result, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  EmbedTokens<FormatList>(spec, weights, sequences, scratch, magnitude, executor);
  constexpr bool kMayHaveStreams = MayHave<Spec>([](const ModelConfig& c) { return c.streams.count != 0; });
  if constexpr (MayHave<Spec>([](const ModelConfig& c) { return c.layer_input_dim != 0; })) {
    if (config.layer_input_dim != 0) MakeLayerInputs<FormatList>(spec, weights, sequences, tokens, scratch, executor);
  }
  if constexpr (kMayHaveStreams) {
    if (config.streams.count != 0) SpreadStreams<FormatList>(spec, weights, tokens, scratch, executor);
  }
  for (std::size_t l = 0; l < config.layers; ++l) {
    const LayerWeights& layer = weights.layers[l];
    const auto finish = [&](const float* norm, const float* bias) HWY_ATTR {
      FinishBranch(spec, norm, bias, tokens, scratch, executor);
    };
    const LayerAdapters adapters(sequences, l, scratch);
    if constexpr (kMayHaveStreams) {
      if (config.streams.count != 0) PredictStreams(spec, layer, tokens, scratch, executor);
    }
    AddAttention<FormatList, KvList>(spec, layer, l, sequences, tokens, adapters, scratch, executor);
    if constexpr (kMayHaveStreams) {
      if (config.streams.count != 0) MakeBypass<FormatList>(spec, layer, tokens, adapters, scratch, executor);
    }
    if (!config.parallel_residual) finish(layer.post_attention_norm, layer.post_attention_norm_bias);
    if constexpr (kMayHaveStreams) {
      if (config.streams.count != 0) JoinBypass(spec, tokens, scratch);
    }
    if (config.ffn_dim != 0) {
      AddFeedForward<FormatList>(spec, layer, l, tokens, adapters, scratch, executor);
      finish(layer.post_ffn_norm, layer.post_ffn_norm_bias);
    }
    FinishLayer<FormatList>(spec, layer, l, sequences, tokens, adapters, scratch, executor);
  }
  if constexpr (kMayHaveStreams) {
    if (config.streams.count != 0) MergeStreams<FormatList>(spec, weights, tokens, scratch, executor);
  }
  const bool logits = config.logits && result == PassResult::kLogits;
  const ActivationKinds kinds = logits ? KindsFor(weights.output) : kActivationFloat;
  const std::size_t outputs = FinishHidden(spec, weights, sequences, kinds, scratch, executor);
  if (logits && outputs != 0) {
    const LayerAdapters adapters = LayerAdapters(sequences, 0, scratch).ForOutputs();
    ComputeLogits<FormatList>(spec, weights, outputs, adapters, scratch, executor);
  }
  return outputs;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_MODEL_FORWARD_INL_HPP_

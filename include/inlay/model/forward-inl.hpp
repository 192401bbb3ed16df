// The forward pass: tokens in, logits out. Reads top to bottom as the model computes.

#include <algorithm>
#include <cstddef>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/kernels/rope.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/kv_cache.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_MODEL_FORWARD_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_MODEL_FORWARD_INL_HPP_
#undef INLAY_MODEL_FORWARD_INL_HPP_
#else
#define INLAY_MODEL_FORWARD_INL_HPP_
#endif

#include "inlay/layers/attention-inl.hpp"
#include "inlay/layers/feed_forward-inl.hpp"
#include "inlay/layers/linear-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// residual[t] = row of the embedding table; rotations[t] = cos and sin of the token's position.
template <class FormatList, class Spec>
HWY_INLINE void EmbedTokens(const Spec& spec, const ModelWeights& weights, std::span<const SequenceInput> sequences,
                            const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  std::size_t row = 0;
  for (const SequenceInput& sequence : sequences) {
    const std::size_t position = sequence.cache->length();
    ForTokenRanges(executor, sequence.tokens.size(), [&](std::size_t begin, std::size_t end) HWY_ATTR {
      for (std::size_t t = begin; t < end; ++t) {
        UnpackRow<FormatList>(weights.token_embedding.type, weights.token_embedding.data, config.dim,
                  static_cast<std::size_t>(sequence.tokens[t]), scratch.residual + (row + t) * config.dim);
        RopeTable(scratch.frequencies, config.rope_dim / 2, position + t, scratch.rotations + (row + t) * config.rope_dim);
      }
    });
    row += sequence.tokens.size();
  }
}

// Logits of the positions that the sequences ask for, in order, into scratch.logits [outputs, vocab].
template <class FormatList, class Spec>
HWY_INLINE std::size_t ComputeLogits(const Spec& spec, const ModelWeights& weights,
                                     std::span<const SequenceInput> sequences, const Scratch& scratch,
                                     ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t dim = config.dim;
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
  NormalizeRows(scratch.residual, weights.output_norm, config.norm_epsilon, spec.dim(), outputs,
                KindsFor(weights.output), scratch.normalized, executor);
  Multiply<FormatList>(weights.output.type, weights.output.data, config.vocab, spec.dim(), scratch.normalized, outputs,
                       Output{scratch.logits, config.vocab, false}, executor);
  return outputs;
}

// One pass over all sequences' new tokens. The arguments have been checked (model.hpp); caches are not advanced.
// Returns the number of rows in scratch.logits. At most five synchronisations a layer, whatever the number of tokens
// when there is one, as normalising and quantising one row is cheaper than sharing it.
template <class FormatList, class KvList, class Spec>
HWY_NOINLINE std::size_t ForwardPass(const Spec& spec, const ModelWeights& weights,
                                     std::span<const SequenceInput> sequences, std::size_t tokens, const Scratch& scratch,
                                     ExecutorRef executor) {
  EmbedTokens<FormatList>(spec, weights, sequences, scratch, executor);
  for (std::size_t l = 0; l < spec.config().layers; ++l) {
    const LayerWeights& layer = weights.layers[l];
    ProjectQueryKeyValue<FormatList, KvList>(spec, layer, l, sequences, tokens, scratch, executor);
    Attend<KvList>(spec, l, sequences, scratch, executor);
    AddAttentionOutput<FormatList>(spec, layer, tokens, scratch, executor);
    AddFeedForward<FormatList>(spec, layer, tokens, scratch, executor);
  }
  return ComputeLogits<FormatList>(spec, weights, sequences, scratch, executor);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_MODEL_FORWARD_INL_HPP_

// Attention of one layer: query, key and value projections with rotary positions, the cache, the mixing of values, and
// the output projection.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/attention_plan.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/kv_cache.hpp"
#include "inlay/layers/partition.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_LAYERS_ATTENTION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_ATTENTION_INL_HPP_
#undef INLAY_LAYERS_ATTENTION_INL_HPP_
#else
#define INLAY_LAYERS_ATTENTION_INL_HPP_
#endif

#include "inlay/kernels/attention-inl.hpp"
#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/layers/linear-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// Calls f.template operator()<kType>() for the cache's element type, which is one of KvList's.
template <class KvList, class F>
HWY_INLINE void ForKvType(KvType type, F&& f) {
  const auto call = [&]<KvType kType>() HWY_ATTR {
    if constexpr (KvList::Contains(kType)) f.template operator()<kType>();
  };
  switch (type) {
    case KvType::kF32: return call.template operator()<KvType::kF32>();
    case KvType::kF16: return call.template operator()<KvType::kF16>();
    case KvType::kBF16: return call.template operator()<KvType::kBF16>();
    case KvType::kQ8: return call.template operator()<KvType::kQ8>();
  }
}

// Rotates heads [head_begin, head_end) of every token's row.  rows: [tokens, row_stride]
HWY_INLINE void RotateHeads(const ModelConfig& config, const Scratch& scratch, std::size_t tokens, float* rows,
                            std::size_t row_stride, std::size_t head_begin, std::size_t head_end) {
  for (std::size_t t = 0; t < tokens; ++t) {
    const float* turns = scratch.rotations + t * config.rope_dim;
    for (std::size_t h = head_begin; h < head_end; ++h) {
      RotatePairs(turns, config.rope_dim / 2, rows + t * row_stride + h * config.head_dim);
    }
  }
}

// Stores heads [head_begin, head_end) of the new keys (or values) of all sequences in their caches.
template <bool kKeys, class KvList, class Spec>
HWY_INLINE void StoreHeads(const Spec& spec, std::size_t layer, std::span<const SequenceInput> sequences,
                           const float* rows, std::size_t head_begin, std::size_t head_end) {
  const std::size_t head_dim = spec.config().head_dim, stride = spec.config().kv_dim();
  for (const SequenceInput& sequence : sequences) {
    const KvLayer cache = sequence.cache->layer(layer);
    const std::size_t start = sequence.cache->length();
    ForKvType<KvList>(cache.type, [&]<KvType kType>() HWY_ATTR {
      for (std::size_t t = 0; t < sequence.tokens.size(); ++t) {
        for (std::size_t h = head_begin; h < head_end; ++h) {
          const float* from = rows + t * stride + h * head_dim;
          if constexpr (kKeys) {
            StoreKey<kType>(cache.keys(h), spec.head_dim(), cache.capacity, start + t, from);
          } else {
            StoreValue<kType>(cache.values(h), spec.head_dim(), cache.capacity, start + t, from);
          }
        }
      }
    });
    rows += sequence.tokens.size() * stride;
  }
}

// query = rotate(Wq h), and cache keys and values rotate(Wk h) and Wv h, with h = RMSNorm(residual). One task computes
// whole heads, so it rotates and stores them while they are in its cache.
template <class FormatList, class KvList, class Spec>
HWY_INLINE void ProjectQueryKeyValue(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                                     std::span<const SequenceInput> sequences, std::size_t tokens,
                                     const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t q_dim = config.q_dim(), kv_dim = config.kv_dim(), head_dim = config.head_dim;
  const Activations& input = scratch.normalized;
  NormalizeRows(scratch.residual, weights.attention_norm, config.norm_epsilon, spec.dim(), tokens,
                KindsFor(weights.query, weights.key, weights.value), input, executor);
  const auto project = [&](const PackedMatrix& matrix, std::size_t rows, std::size_t begin, std::size_t end,
                           float* out) HWY_ATTR {
    MatMul<FormatList>(matrix.type, matrix.data, rows, spec.dim(), input, 0, tokens, begin, end,
                       Output{out, rows, false});
  };
  ForRowRanges(executor, std::array{q_dim, kv_dim, kv_dim}, HeadUnit(head_dim), (q_dim + 2 * kv_dim) * config.dim * tokens,
               [&](std::size_t part, std::size_t begin, std::size_t end) HWY_ATTR {
                 const std::size_t head_begin = begin / head_dim, head_end = end / head_dim;
                 if (part == 0) {
                   project(weights.query, q_dim, begin, end, scratch.query);
                   RotateHeads(config, scratch, tokens, scratch.query, q_dim, head_begin, head_end);
                 } else if (part == 1) {
                   project(weights.key, kv_dim, begin, end, scratch.key);
                   RotateHeads(config, scratch, tokens, scratch.key, kv_dim, head_begin, head_end);
                   StoreHeads<true, KvList>(spec, layer, sequences, scratch.key, head_begin, head_end);
                 } else {
                   project(weights.value, kv_dim, begin, end, scratch.value);
                   StoreHeads<false, KvList>(spec, layer, sequences, scratch.value, head_begin, head_end);
                 }
               });
}

// Runs f(item, slot) for every item. At most scratch.shape.threads calls run at once, each with a slot of its own.
template <class F>
HWY_INLINE void ForAttentionItems(const Scratch& scratch, std::size_t items, bool serial, ExecutorRef executor, F&& f) {
  const std::size_t slots = serial ? 1 : std::min({items, scratch.shape.threads, executor.concurrency()});
  std::atomic<std::size_t> next{0};
  executor.Run(slots, [&](std::size_t slot) HWY_ATTR {
    for (std::size_t i = next.fetch_add(1, std::memory_order_relaxed); i < items;
         i = next.fetch_add(1, std::memory_order_relaxed)) {
      f(i, scratch.attention + slot * AttentionScratchFloats(scratch.head_dim));
    }
  });
}

// mixed = attention(query, cache) for the new tokens of one sequence, whose first row is `row`. Work is cut by key/value
// head and by blocks of tokens; for one token in a long context, by spans of the context.
template <KvType kType, class Spec>
HWY_NOINLINE void AttendSequence(const Spec& spec, std::size_t layer, const SequenceInput& sequence, std::size_t row,
                                 const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const KvLayer cache = sequence.cache->layer(layer);
  const std::size_t head_dim = config.head_dim, kv_heads = config.kv_heads, tokens = sequence.tokens.size();
  const std::size_t position = sequence.cache->length();
  AttentionShape shape;
  shape.group = config.group();
  shape.capacity = cache.capacity;
  shape.window = config.window;
  shape.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  const float* queries = scratch.query + row * config.q_dim();
  float* out = scratch.mixed.values + row * scratch.mixed.stride;
  const std::size_t head_stride = shape.group * head_dim;

  const std::size_t macs = 2 * tokens * config.q_dim() * (position + tokens - shape.First(position));
  const bool serial = macs < kSerialMacs;
  const SpanRange spans = AttentionSpans(shape, position);
  if (tokens == 1 && spans.size() > 1 && !serial) {
    const std::size_t head_partials = AttentionPartialFloats(head_dim, shape.group, spans.size());
    const std::size_t span_partials = AttentionPartialFloats(head_dim, shape.group, 1);
    ForAttentionItems(scratch, kv_heads * spans.size(), serial, executor, [&](std::size_t item, float* memory) HWY_ATTR {
      const std::size_t head = item / spans.size(), span = item % spans.size();
      AttendSpan<kType>(shape, cache.keys(head), cache.values(head), spec.head_dim(), queries + head * head_stride,
                        position, spans.begin + span,
                        scratch.partials + head * head_partials + span * span_partials, memory);
    });
    for (std::size_t head = 0; head < kv_heads; ++head) {
      MergeSpans(shape, head_dim, spans.size(), scratch.partials + head * head_partials, out + head * head_stride);
    }
    return;
  }
  // About as many queries as keep a task busy for some 50 us at short contexts.
  const std::size_t block = std::max<std::size_t>(1, 96 / shape.group);
  const std::size_t blocks = DivideUp(tokens, block);
  ForAttentionItems(scratch, kv_heads * blocks, serial, executor, [&](std::size_t item, float* memory) HWY_ATTR {
    const std::size_t head = item % kv_heads, begin = item / kv_heads * block;
    AttendTokens<kType>(shape, cache.keys(head), cache.values(head), spec.head_dim(), queries + head * head_stride,
                        config.q_dim(), position, begin, std::min(tokens, begin + block), out + head * head_stride,
                        scratch.mixed.stride, memory);
  });
}

template <class KvList, class Spec>
HWY_INLINE void Attend(const Spec& spec, std::size_t layer, std::span<const SequenceInput> sequences,
                       const Scratch& scratch, ExecutorRef executor) {
  std::size_t row = 0;
  for (const SequenceInput& sequence : sequences) {
    if (sequence.tokens.empty()) continue;
    ForKvType<KvList>(sequence.cache->type(), [&]<KvType kType>() HWY_ATTR {
      AttendSequence<kType>(spec, layer, sequence, row, scratch, executor);
    });
    row += sequence.tokens.size();
  }
}

// residual += Wo mixed.
template <class FormatList, class Spec>
HWY_INLINE void AddAttentionOutput(const Spec& spec, const LayerWeights& weights, std::size_t tokens,
                                   const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  QuantizeForProduct(KindsFor(weights.attention_output), config.q_dim(), tokens, scratch.mixed, executor);
  Multiply<FormatList>(weights.attention_output.type, weights.attention_output.data, config.dim, spec.q_dim(),
                       scratch.mixed, tokens, Output{scratch.residual, config.dim, true}, executor);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_ATTENTION_INL_HPP_

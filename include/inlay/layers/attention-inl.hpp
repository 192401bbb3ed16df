// Attention of one layer: query, key and value projections with rotary positions, the cache, the mixing of values, and
// the output projection.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/attention_plan.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/sequence_cache.hpp"
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
#include "inlay/layers/adapter-inl.hpp"
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
    case KvType::kQ4: return call.template operator()<KvType::kQ4>();
  }
}

// The rotary positions of a layer's queries and keys.
HWY_INLINE const float* TurnsOf(const ModelConfig& config, const Scratch& scratch, std::size_t layer) {
  const bool local = config.rope.local_base != 0.0f && config.IsLocal(layer);
  return local ? scratch.local_rotations.turns : scratch.rotations.turns;
}

// Stores heads [head_begin, head_end) of the new keys (or values) of all sequences in their caches.  rows: [tokens, stride]
template <bool kKeys, class KvList, class Spec>
HWY_INLINE void StoreHeads(const Spec& spec, std::size_t layer, std::span<const SequenceInput> sequences,
                           const float* rows, std::size_t stride, std::size_t head_begin, std::size_t head_end) {
  const ModelConfig& config = spec.config();
  const std::size_t width = kKeys ? config.head_dim : config.value_width();
  for (const SequenceInput& sequence : sequences) {
    const KvLayer cache = sequence.cache->layer(layer);
    const std::size_t start = sequence.cache->length();
    ForKvType<KvList>(cache.type, [&]<KvType kType>() HWY_ATTR {
      for (std::size_t t = 0; t < sequence.tokens.size(); ++t) {
        for (std::size_t h = head_begin; h < head_end; ++h) {
          const float* from = rows + t * stride + h * width;
          if constexpr (kKeys) {
            StoreKey<kType>(cache.keys(h), spec.head_dim(), cache.capacity, start + t, from);
          } else {
            StoreValue<kType>(cache.values(h), spec.value_dim(), cache.capacity, start + t, from);
          }
        }
      }
    });
    rows += sequence.tokens.size() * stride;
  }
}

// What happens to queries and keys before they are compared: rows of one token's heads, in place.
template <class Spec>
class HeadFinisher {
 public:
  HeadFinisher(const Spec& spec, const Scratch& scratch, std::size_t layer)
      : spec_(spec),
        turns_(spec.config().IsRotated(layer) ? TurnsOf(spec.config(), scratch, layer) : nullptr),
        temperatures_(HasTemperature(spec.config(), layer) ? scratch.temperatures : nullptr) {}

  // Heads [head_begin, head_end) of tokens [begin, end).  rows: [tokens, stride]; norm: of each head, or nullptr.
  HWY_INLINE void operator()(bool queries, const float* norm, std::size_t begin, std::size_t end, float* rows,
                             std::size_t stride, std::size_t head_begin, std::size_t head_end) const {
    const ModelConfig& config = spec_.config();
    const auto head_dim = spec_.head_dim();
    for (std::size_t t = begin; t < end; ++t) {
      const float* turns = turns_ == nullptr ? nullptr : turns_ + t * config.rope_dim;
      for (std::size_t h = head_begin; h < head_end; ++h) {
        float* const head = rows + t * stride + h * head_dim;
        if (config.attention.qk_norm == QkNorm::kHead) RmsNorm(head, norm, head_dim, config.norm_epsilon, head);
        if (turns != nullptr) {
          if (config.rope.style == RopeStyle::kPairs) {
            RotatePairs(turns, config.rope_dim / 2, head);
          } else {
            RotateHalves(turns, config.rope_dim / 2, head);
          }
          if (config.attention.qk_norm == QkNorm::kUnweighted) RmsNorm(head, head_dim, config.norm_epsilon, head);
        }
        if (queries && temperatures_ != nullptr) Scale(temperatures_[t], head_dim, head);
      }
    }
  }

 private:
  static bool HasTemperature(const ModelConfig& config, std::size_t layer) {
    if (config.attention.temperature == 0.0f) return false;
    return !config.attention.temperature_unrotated || !config.IsRotated(layer);
  }

  const Spec& spec_;
  const float* turns_;
  const float* temperatures_;
};

// query = finish(Wq h), and cache keys and values finish(Wk h) and Wv h, with h = norm(residual). One task computes
// whole heads, so it normalises, rotates and stores them while they are in its cache. Where the norm is over all heads, that
// is a step of its own.
template <class FormatList, class KvList, class Spec>
HWY_INLINE void ProjectQueryKeyValue(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                                     std::span<const SequenceInput> sequences, std::size_t tokens,
                                     const LayerAdapters& adapters, const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  // A layer that shares keys makes none, and one whose values are its keys has no matrix for them.
  const bool shares = config.SharesKeys(layer), keys_as_values = config.attention.keys_as_values.Has(layer);
  const std::size_t q_dim = config.q_dim(), k_dim = shares ? 0 : config.k_dim();
  const std::size_t v_dim = shares || keys_as_values ? 0 : config.v_dim();
  const std::size_t head_dim = config.head_dim, value_dim = config.value_width();
  const Activations& input = scratch.normalized;
  NormalizeRows(spec, scratch.residual, weights.attention_norm, weights.attention_norm_bias, tokens,
                KindsFor(weights.query, weights.key, weights.value, weights.query_gate, weights.bypass_down), input, executor);
  adapters.Prepare({TensorRole::kQuery, TensorRole::kKey, TensorRole::kValue, TensorRole::kQueryGate}, config.dim, input,
                   executor);
  const auto project = [&](const PackedMatrix& matrix, const float* bias, std::size_t slot, TensorRole role,
                           std::size_t rows, std::size_t begin, std::size_t end, float* out) HWY_ATTR {
    const Output output{out, rows, false};
    MatMul<FormatList>(matrix.type, matrix.data, rows, spec.dim(), input, 0, tokens, begin, end, output);
    if (bias != nullptr) AddBias(bias, tokens, begin, end, output);
    adapters.Add(slot, role, rows, begin, end, output);
  };
  const HeadFinisher<Spec> finish(spec, scratch, layer);
  const auto store_values = [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = 0; config.attention.value_norm && t < tokens; ++t) {
      for (std::size_t at = begin; at < end; at += value_dim) {
        float* const head = scratch.value + t * config.v_dim() + at;
        RmsNorm(head, value_dim, config.norm_epsilon, head);
      }
    }
    StoreHeads<false, KvList>(spec, layer, sequences, scratch.value, config.v_dim(), begin / value_dim, end / value_dim);
  };
  const bool whole_rows = config.attention.qk_norm == QkNorm::kWidth;
  // Where keys and values have heads of different widths, a range of either is whole heads of both.
  const std::size_t gate_dim = config.attention.output_gate ? q_dim : 0;
  ForRowRanges(executor, std::array{q_dim, k_dim, v_dim, gate_dim}, HeadUnit(std::lcm(head_dim, value_dim), tokens),
               (q_dim + k_dim + v_dim + gate_dim) * config.dim * tokens,
               [&](std::size_t part, std::size_t begin, std::size_t end) HWY_ATTR {
                 if (part == 0) {
                   project(weights.query, weights.query_bias, 0, TensorRole::kQuery, q_dim, begin, end, scratch.query);
                   if (whole_rows) return;
                   finish(true, weights.query_norm, 0, tokens, scratch.query, q_dim, begin / head_dim, end / head_dim);
                 } else if (part == 1) {
                   project(weights.key, weights.key_bias, 1, TensorRole::kKey, k_dim, begin, end, scratch.key);
                   if (keys_as_values) {
                     for (std::size_t t = 0; t < tokens; ++t) {
                       std::copy(scratch.key + t * k_dim + begin, scratch.key + t * k_dim + end, scratch.value + t * k_dim + begin);
                     }
                     store_values(begin, end);
                   }
                   if (whole_rows) return;
                   finish(false, weights.key_norm, 0, tokens, scratch.key, k_dim, begin / head_dim, end / head_dim);
                   StoreHeads<true, KvList>(spec, layer, sequences, scratch.key, k_dim, begin / head_dim, end / head_dim);
                 } else if (part == 2) {
                   project(weights.value, weights.value_bias, 2, TensorRole::kValue, v_dim, begin, end, scratch.value);
                   store_values(begin, end);
                 } else {
                   project(weights.query_gate, nullptr, 3, TensorRole::kQueryGate, q_dim, begin, end, scratch.query_gate);
                 }
               });
  if (!whole_rows) return;
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = begin; t < end; ++t) {
      float* const query = scratch.query + t * q_dim;
      float* const key = scratch.key + t * k_dim;
      RmsNorm(query, weights.query_norm, q_dim, config.norm_epsilon, query);
      RmsNorm(key, weights.key_norm, k_dim, config.norm_epsilon, key);
    }
    finish(true, nullptr, begin, end, scratch.query, q_dim, 0, config.heads);
    finish(false, nullptr, begin, end, scratch.key, k_dim, 0, config.kv_heads);
  });
  ForRowRanges(executor, std::array{k_dim}, HeadUnit(head_dim, tokens), k_dim * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 StoreHeads<true, KvList>(spec, layer, sequences, scratch.key, k_dim, begin / head_dim, end / head_dim);
               });
}

// Runs f(item, slot) for every item. At most scratch.shape.threads calls run at once, each with a slot of its own.
template <class F>
HWY_INLINE void ForSlottedItems(const Scratch& scratch, std::size_t items, bool serial, ExecutorRef executor, F&& f) {
  const std::size_t slots = serial ? 1 : std::min({items, scratch.shape.threads, executor.concurrency()});
  std::atomic<std::size_t> next{0};
  executor.Run(slots, [&](std::size_t slot) HWY_ATTR {
    for (std::size_t i = next.fetch_add(1, std::memory_order_relaxed); i < items;
         i = next.fetch_add(1, std::memory_order_relaxed)) {
      f(i, slot);
    }
  });
}

// The same with a slot's part of the working memory of attention.
template <class F>
HWY_INLINE void ForAttentionItems(const Scratch& scratch, std::size_t items, bool serial, ExecutorRef executor, F&& f) {
  ForSlottedItems(scratch, items, serial, executor, [&](std::size_t item, std::size_t slot) HWY_ATTR {
    f(item, scratch.attention + slot * scratch.attention_floats);
  });
}

constexpr AttentionMask MaskOf(const ModelConfig& config) {
  if (!config.attention.causal) return AttentionMask::kSymmetric;
  return config.attention.window_kind == WindowKind::kChunked ? AttentionMask::kChunked : AttentionMask::kCausal;
}

// mixed = attention(query, cache) for the new tokens of one sequence, whose first row is `row`. Work is cut by key/value
// head and by blocks of tokens; for one token in a long context, by spans of the context.
template <KvType kType, class Spec>
HWY_NOINLINE void AttendSequence(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                                 const SequenceInput& sequence, std::size_t row, const Scratch& scratch,
                                 ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const KvLayer cache = sequence.cache->layer(layer);
  const std::size_t kv_heads = config.kv_heads, tokens = sequence.tokens.size();
  const std::size_t position = sequence.cache->length();
  AttentionShape shape;
  shape.group = config.group();
  shape.capacity = cache.capacity;
  shape.window = config.IsLocal(layer) ? config.window : 0;
  shape.length = position + tokens;
  shape.mask = shape.window == 0 && config.attention.causal ? AttentionMask::kCausal : MaskOf(config);
  shape.scale = config.attention.scale != 0.0f ? config.attention.scale
                                               : 1.0f / std::sqrt(static_cast<float>(std::size_t{config.head_dim}));
  shape.softcap = config.attention.softcap;
  const float* queries = scratch.query + row * config.q_dim();
  // What is mixed in the latent space is carried back to the heads' own values by another step.
  const bool latent = config.latent.rank != 0;
  const std::size_t row_stride = latent ? std::size_t{config.heads} * config.latent.rank : scratch.mixed.stride;
  float* out = (latent ? scratch.latent.mixed : scratch.mixed.values) + row * row_stride;
  const std::size_t query_stride = shape.group * config.head_dim, out_stride = shape.group * config.value_width();
  const auto shape_of = [&](std::size_t head) {
    AttentionShape of_head = shape;
    if (config.attention.sinks) of_head.sinks = weights.sinks + head * shape.group;
    return of_head;
  };

  const std::size_t macs = 2 * tokens * config.q_dim() * (position + tokens - shape.First(position));
  const bool serial = macs < kSerialMacs;
  const SpanRange spans = AttentionSpans(shape, position);
  if (tokens == 1 && spans.size() > 1 && !serial) {
    const std::size_t head_partials = AttentionPartialFloats(config.value_width(), shape.group, spans.size());
    const std::size_t span_partials = AttentionPartialFloats(config.value_width(), shape.group, 1);
    // Neighbouring spans in one task, so that what is fetched ahead is what comes next; four tasks a thread, for balance.
    const std::size_t items = kv_heads * spans.size();
    const std::size_t tasks = std::min(items, 4 * std::min(scratch.shape.threads, executor.concurrency()));
    ForAttentionItems(scratch, tasks, serial, executor, [&](std::size_t task, float* memory) HWY_ATTR {
      const std::size_t end = items * (task + 1) / tasks;
      for (std::size_t item = items * task / tasks; item < end;) {
        const std::size_t head = item / spans.size(), span = item % spans.size();
        const std::size_t count = std::min(end - item, spans.size() - span);
        AttendSpans<kType>(shape, cache.keys(head), cache.values(head), spec.head_dim(), spec.value_dim(),
                           queries + head * query_stride, position,
                           SpanRange{spans.begin + span, spans.begin + span + count},
                           scratch.partials + head * head_partials + span * span_partials, memory);
        item += count;
      }
    });
    for (std::size_t head = 0; head < kv_heads; ++head) {
      MergeSpans(shape_of(head), config.value_width(), spans.size(), scratch.partials + head * head_partials,
                 out + head * out_stride);
    }
    return;
  }
  // About as many queries as keep a task busy for some 50 us at short contexts.
  const std::size_t block = std::max<std::size_t>(1, 96 / shape.group);
  const std::size_t blocks = DivideUp(tokens, block);
  ForAttentionItems(scratch, kv_heads * blocks, serial, executor, [&](std::size_t item, float* memory) HWY_ATTR {
    const std::size_t head = item % kv_heads, begin = item / kv_heads * block;
    AttendTokens<kType>(shape_of(head), cache.keys(head), cache.values(head), spec.head_dim(), spec.value_dim(),
                        queries + head * query_stride, config.q_dim(), position, begin, std::min(tokens, begin + block),
                        out + head * out_stride, row_stride, memory);
  });
}

template <class KvList, class Spec>
HWY_INLINE void Attend(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                       std::span<const SequenceInput> sequences, const Scratch& scratch, ExecutorRef executor) {
  std::size_t row = 0;
  for (const SequenceInput& sequence : sequences) {
    if (sequence.tokens.empty()) continue;
    ForKvType<KvList>(sequence.cache->type(), [&]<KvType kType>() HWY_ATTR {
      AttendSequence<kType>(spec, weights, layer, sequence, row, scratch, executor);
    });
    row += sequence.tokens.size();
  }
}

// residual (or the branch) += Wo mixed.
template <class FormatList, class Spec>
HWY_INLINE void AddAttentionOutput(const Spec& spec, const LayerWeights& weights, std::size_t tokens,
                                   const LayerAdapters& adapters, const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const PackedMatrix& matrix = weights.attention_output;
  const Activations& mixed = scratch.mixed;
  if (config.attention.output_gate) {
    const std::size_t width = config.mixed_dim();
    ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
      for (std::size_t t = begin; t < end; ++t) {
        float* const row = mixed.values + t * mixed.stride;
        ActivateMultiply<Logistic16>(scratch.query_gate + t * width, row, width, row);
      }
      QuantizeRows(KindsFor(matrix), width, begin, end, mixed);
    });
  } else {
    QuantizeForProduct(KindsFor(matrix), config.mixed_dim(), tokens, mixed, executor);
  }
  MultiplyChanged<FormatList>(matrix.type, matrix.data, weights.attention_output_bias, TensorRole::kAttentionOutput, config.dim,
                              spec.mixed_dim(), mixed, tokens, adapters, BranchOutput(spec, scratch), executor);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_ATTENTION_INL_HPP_

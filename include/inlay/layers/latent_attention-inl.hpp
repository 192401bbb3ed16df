// Latent attention (DeepSeek-V2, https://arxiv.org/abs/2405.04434): the cache holds one vector per position, from which the
// keys and values of all heads are linear: the normalised latent and, behind it, the rotated part of the keys.
//
// With latent c, head h's key is K_h c and its value V_h c. So q . K_h c = (K_h^T q) . c, and the mixture of values is V_h of
// the mixture of latents: queries are carried over to the latent space, all heads attend to the same keys and values there
// (attention-inl.hpp with one key/value head, whose values are the first elements of its keys), and results are carried
// back. No head's key or value is ever made.

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>

#include "inlay/core/executor.hpp"
#include "inlay/core/extents.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/pack.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/partition.hpp"
#include "inlay/layers/scratch.hpp"
#include "inlay/weights/packed_weights.hpp"

#if defined(INLAY_LAYERS_LATENT_ATTENTION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_LATENT_ATTENTION_INL_HPP_
#undef INLAY_LAYERS_LATENT_ATTENTION_INL_HPP_
#else
#define INLAY_LAYERS_LATENT_ATTENTION_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/layers/adapter-inl.hpp"
#include "inlay/layers/attention-inl.hpp"
#include "inlay/layers/linear-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// Turns rope_dim values by the position of token `token`.
HWY_INLINE void RotateToken(const ModelConfig& config, const Scratch& scratch, std::size_t token, float* x) {
  const float* turns = scratch.rotations.turns + token * config.rope_dim;
  if (config.rope.style == RopeStyle::kPairs) {
    RotatePairs(turns, config.rope_dim / 2, x);
  } else {
    RotateHalves(turns, config.rope_dim / 2, x);
  }
}

// One head's queries of all tokens in the latent space: K_h^T of the plain part, and the rotated part behind it.
template <class FormatList, class Spec>
HWY_NOINLINE void CarryQueries(const Spec& spec, const LayerWeights& weights, std::size_t head, std::size_t slot,
                               std::size_t tokens, const LayerAdapters& adapters, const Scratch& scratch) {
  const ModelConfig& config = spec.config();
  const LatentScratch& latent = scratch.latent;
  const std::size_t rank = config.latent.rank, plain_dim = config.latent.plain_dim(config.rope_dim);
  const std::size_t own_stride = std::size_t{config.heads} * config.latent.head_dim, q_dim = config.q_dim();
  const float* const own = latent.queries + head * config.latent.head_dim;
  float* const carried = scratch.query + head * config.head_dim;
  for (std::size_t t = 0; t < tokens; ++t) {
    const float* const rotated = own + t * own_stride + plain_dim;
    std::copy_n(rotated, config.rope_dim, carried + t * q_dim + rank);
    if (config.rope_dim != 0) RotateToken(config, scratch, t, carried + t * q_dim + rank);
  }
  if (config.latent.key_rows) {
    // The matrix that makes keys of latents: its rows are weighted by the query.
    float* const row = latent.mixed_head.values + slot * tokens * latent.mixed_head.stride;
    const std::byte* const matrix = weights.latent_key_rows.expert(head);
    for (std::size_t t = 0; t < tokens; ++t) std::fill_n(carried + t * q_dim, rank, 0.0f);
    for (std::size_t i = 0; i < plain_dim; ++i) {
      UnpackRow<FormatList>(weights.latent_key_rows.type, matrix, rank, i, row);
      for (std::size_t t = 0; t < tokens; ++t) AddScaled(row, own[t * own_stride + i], rank, carried + t * q_dim);
    }
    adapters.AddProduct(TensorRole::kLatentKeyRows, head, true, plain_dim, rank, own, own_stride, Output{carried, q_dim, true});
    return;
  }
  const Activations plain = RowsFrom(latent.plain, slot * tokens);
  for (std::size_t t = 0; t < tokens; ++t) std::copy_n(own + t * own_stride, plain_dim, plain.values + t * plain.stride);
  const PackedMatrix& matrix = weights.latent_keys;
  QuantizeRows(KindsFor(matrix), plain_dim, 0, tokens, plain);
  MatMul<FormatList>(matrix.type, matrix.expert(head), rank, DynamicExtent{plain_dim}, plain, 0, tokens, 0, rank,
                     Output{carried, q_dim, false});
  adapters.AddProduct(TensorRole::kLatentKeys, head, false, rank, plain_dim, own, own_stride, Output{carried, q_dim, true});
}

// Queries in the latent space, and latents and rotated keys in the cache.
template <class FormatList, class KvList, class Spec>
HWY_INLINE void ProjectLatent(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                              std::span<const SequenceInput> sequences, std::size_t tokens, const LayerAdapters& adapters,
                              const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const LatentScratch& latent = scratch.latent;
  const std::size_t rank = config.latent.rank, query_rank = config.latent.query_rank, k_dim = config.k_dim();
  const std::size_t own_dim = std::size_t{config.heads} * config.latent.head_dim;
  const Activations& input = scratch.normalized;
  const PackedMatrix& query = query_rank == 0 ? weights.query : weights.latent_query_down;
  NormalizeRows(spec, scratch.residual, weights.attention_norm, weights.attention_norm_bias, tokens,
                KindsFor(query, weights.latent_down), input, executor);
  const std::array roles{query_rank == 0 ? TensorRole::kQuery : TensorRole::kLatentQueryDown, TensorRole::kLatentDown};
  adapters.Prepare({roles[0], roles[1]}, config.dim, input, executor);
  const std::array rows{query_rank == 0 ? own_dim : query_rank, k_dim};
  ForRowRanges(executor, rows, RowUnit(tokens), (rows[0] + rows[1]) * config.dim * tokens,
               [&](std::size_t part, std::size_t begin, std::size_t end) HWY_ATTR {
                 const PackedMatrix& matrix = part == 0 ? query : weights.latent_down;
                 const Output out = part == 1          ? Output{scratch.key, k_dim, false}
                                    : query_rank == 0 ? Output{latent.queries, own_dim, false}
                                                      : Output{latent.query_low.values, latent.query_low.stride, false};
                 MatMul<FormatList>(matrix.type, matrix.data, rows[part], spec.dim(), input, 0, tokens, begin, end, out);
                 adapters.Add(part, roles[part], rows[part], begin, end, out);
               });
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = begin; t < end; ++t) {
      float* const key = scratch.key + t * k_dim;
      RmsNorm(key, weights.latent_norm, rank, config.norm_epsilon, key);
      if (config.rope_dim != 0) RotateToken(config, scratch, t, key + rank);
      if (query_rank == 0) continue;
      float* const low = latent.query_low.values + t * latent.query_low.stride;
      RmsNorm(low, weights.latent_query_norm, query_rank, config.norm_epsilon, low);
    }
    if (query_rank != 0) QuantizeRows(KindsFor(weights.latent_query_up), query_rank, begin, end, latent.query_low);
  });
  StoreHeads<true, KvList>(spec, layer, sequences, scratch.key, k_dim, 0, 1);
  if (query_rank != 0) {
    MultiplyChanged<FormatList>(weights.latent_query_up.type, weights.latent_query_up.data, nullptr, TensorRole::kLatentQueryUp,
                                own_dim, DynamicExtent{query_rank}, latent.query_low, tokens, adapters,
                                Output{latent.queries, own_dim, false}, executor);
  }
  const bool serial = own_dim * rank * tokens < kSerialMacs;
  ForSlottedItems(scratch, config.heads, serial, executor, [&](std::size_t head, std::size_t slot) HWY_ATTR {
    CarryQueries<FormatList>(spec, weights, head, slot, tokens, adapters, scratch);
  });
}

// mixed = the values of all heads, from the latents that attention has mixed.
template <class FormatList, class Spec>
HWY_INLINE void MixLatentValues(const Spec& spec, const LayerWeights& weights, std::size_t tokens,
                                const LayerAdapters& adapters, const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t rank = config.latent.rank, value_dim = config.latent.value_dim, stride = config.heads * rank;
  const PackedMatrix& matrix = weights.latent_values;
  const bool serial = stride * value_dim * tokens < kSerialMacs;
  ForSlottedItems(scratch, config.heads, serial, executor, [&](std::size_t head, std::size_t slot) HWY_ATTR {
    const Activations mixed = RowsFrom(scratch.latent.mixed_head, slot * tokens);
    for (std::size_t t = 0; t < tokens; ++t) {
      std::copy_n(scratch.latent.mixed + t * stride + head * rank, rank, mixed.values + t * mixed.stride);
    }
    QuantizeRows(KindsFor(matrix), rank, 0, tokens, mixed);
    const Output out{scratch.mixed.values + head * value_dim, scratch.mixed.stride, false};
    MatMul<FormatList>(matrix.type, matrix.expert(head), value_dim, DynamicExtent{rank}, mixed, 0, tokens, 0, value_dim, out);
    adapters.AddProduct(TensorRole::kLatentValues, head, false, value_dim, rank, mixed.values, mixed.stride, out);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_LATENT_ATTENTION_INL_HPP_

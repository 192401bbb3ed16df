// Attention of the query heads that share one key/value head: storing keys and values, scores, softmax, weighted values.
//
// One algorithm for prefill and decode. A query goes through the positions it sees in spans (kKvSpan): scores of
// the whole span, its largest, exponentials, weighted values. The partial results of spans are merged in order. Every
// score is one chain over head_dim, every output element one chain over the positions of a span, sums of exponentials run
// over 16 lanes; nothing depends on how many queries or spans are computed together. So tokens one by one, in blocks of
// any size, and spans on different threads give the same bits.
// Positions that a query does not see are not read as values, and their scores are dropped lane by lane: what is there
// (even NaN) does not matter.
// Source: Dao et al. 2022, "FlashAttention", https://arxiv.org/abs/2205.14135; we keep a whole span of scores instead of
// rescaling at every tile, and restart at span boundaries.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "inlay/core/extents.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/float16.hpp"
#include "inlay/formats/kv_type.hpp"
#include "inlay/kernels/attention_plan.hpp"
#include "inlay/kernels/kv_layout.hpp"

#if defined(INLAY_KERNELS_ATTENTION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_ATTENTION_INL_HPP_
#undef INLAY_KERNELS_ATTENTION_INL_HPP_
#else
#define INLAY_KERNELS_ATTENTION_INL_HPP_
#endif

#include "inlay/kernels/elementwise-inl.hpp"
#include "inlay/kernels/float_lanes-inl.hpp"
#include "inlay/kernels/simd-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace detail {

// Queries of one register tile, and 16-lane columns (keys, or head dimensions) computed together with that many.
inline constexpr std::size_t kMaxTileQueries = 6;
#if HWY_TARGET != HWY_SCALAR && HWY_MAX_BYTES == 64 && !HWY_HAVE_SCALABLE
constexpr std::size_t ColumnsPerQueries(std::size_t) { return 4; }
#else
constexpr std::size_t ColumnsPerQueries(std::size_t queries) { return queries == 1 ? 4 : queries <= 3 ? 2 : 1; }
#endif

// Sixteen elements of keys or values, as stored.
template <KvType kType>
HWY_INLINE Lanes16 LoadKv16(const std::byte* from, std::size_t index) {
  if constexpr (kType == KvType::kF32) return Load16(reinterpret_cast<const float*>(from) + index);
  if constexpr (kType == KvType::kF16) return LoadF16x16(reinterpret_cast<const std::uint16_t*>(from) + index);
  if constexpr (kType == KvType::kBF16) return LoadBF16x16(reinterpret_cast<const std::uint16_t*>(from) + index);
  if constexpr (kType == KvType::kQ8) return LoadI8x16(reinterpret_cast<const std::int8_t*>(from) + index);
}

inline const float* KvScales(const std::byte* base, std::size_t head_dim, std::size_t capacity) {
  return reinterpret_cast<const float*>(base + KvScaleOffset(head_dim, capacity));
}

// out[i] = round(x[i] / scale) with scale = max |x| / 127, which is returned. NaN or infinity in x makes the scale NaN.
inline float QuantizeRow(const float* x, std::size_t n, std::int8_t* out) {
  Lanes16 largest = Set16(0.0f), probe = Set16(0.0f);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 value = LoadUpTo16(x + i, count);
    largest = Max16(largest, Abs16(value));
    probe = MulAdd16(value, Set16(0.0f), probe);
  });
  const float magnitude = Largest16(largest);
  // Below, 127 / magnitude could overflow.
  const bool tiny = !(magnitude > 1e-30f);
  const Lanes16 inverse = Set16(tiny ? 0.0f : 127.0f / magnitude);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    // Added to 1.5 * 2^23, a number is rounded to an integer (ties to even) that sits in the low bits.
    alignas(64) float shifted[16];
    Store16(MulAdd16(LoadUpTo16(x + i, count), inverse, Set16(12582912.0f)), shifted);
    for (std::size_t j = 0; j < count; ++j) out[i + j] = static_cast<std::int8_t>(std::bit_cast<std::uint32_t>(shifted[j]));
  });
  return (tiny ? 0.0f : magnitude / 127.0f) + Sum16(probe);
}

// A finite number stays finite: a key beyond the range of F16 is stored as the largest F16.
template <KvType kType>
HWY_INLINE std::uint16_t ToHalf(float value) {
  return kType == KvType::kF16 ? F32ToF16Saturated(value) : F32ToBF16(value);
}

}  // namespace detail

// Stores the key of one position, `key` [head_dim], in one layer and head's cache (KvHeadBytes at `keys`).
template <KvType kType, Extent HeadDim>
inline void StoreKey(std::byte* keys, HeadDim head_dim, std::size_t capacity, std::size_t position, const float* key) {
  const std::size_t width = head_dim;
  const std::size_t tile = position / 16, lane = position % 16;
  if constexpr (kType == KvType::kF32) {
    float* to = reinterpret_cast<float*>(keys) + tile * width * 16 + lane;
    for (std::size_t i = 0; i < width; ++i) to[i * 16] = key[i];
  } else if constexpr (kType == KvType::kQ8) {
    std::int8_t row[RoundUp(kMaxKvHeadDim, 16)] = {};
    const float scale = detail::QuantizeRow(key, width, row);
    std::byte* to = keys + tile * RoundUp(width, 4) * 16 + lane * 4;
    for (std::size_t i = 0; i < width; i += 4) std::memcpy(to + i * 16, row + i, 4);
    const_cast<float*>(detail::KvScales(keys, width, capacity))[position] = scale;
  } else {
    std::uint16_t* to = reinterpret_cast<std::uint16_t*>(keys) + tile * width * 16 + lane;
    for (std::size_t i = 0; i < width; ++i) to[i * 16] = detail::ToHalf<kType>(key[i]);
  }
}

// Stores the value of one position, as StoreKey.
template <KvType kType, Extent HeadDim>
inline void StoreValue(std::byte* values, HeadDim head_dim, std::size_t capacity, std::size_t position,
                       const float* value) {
  const std::size_t width = head_dim;
  const std::size_t stride = KvValueStride(width);
  if constexpr (kType == KvType::kF32) {
    float* to = reinterpret_cast<float*>(values) + position * stride;
    std::copy_n(value, width, to);
    std::fill(to + width, to + stride, 0.0f);
  } else if constexpr (kType == KvType::kQ8) {
    std::int8_t* to = reinterpret_cast<std::int8_t*>(values) + position * stride;
    const_cast<float*>(detail::KvScales(values, width, capacity))[position] = detail::QuantizeRow(value, width, to);
    std::fill(to + width, to + stride, std::int8_t{0});
  } else {
    std::uint16_t* to = reinterpret_cast<std::uint16_t*>(values) + position * stride;
    for (std::size_t i = 0; i < width; ++i) to[i] = detail::ToHalf<kType>(value[i]);
    std::fill(to + width, to + stride, std::uint16_t{0});
  }
}

namespace detail {

// One query as it is multiplied with keys. [rows, stride] float32, or for Q8 [rows, stride] int8 with scales and sums.
struct Queries {
  const float* values = nullptr;
  const std::int8_t* bytes = nullptr;
  const float* scales = nullptr;      // Q8: of the int8 values
  const std::int32_t* sums = nullptr;  // Q8: of the int8 values, which pay for taking keys as unsigned
  std::size_t stride = 0;

  Queries From(std::size_t row) const {
    return {values == nullptr ? nullptr : values + row * stride, bytes == nullptr ? nullptr : bytes + row * stride,
            scales == nullptr ? nullptr : scales + row, sums == nullptr ? nullptr : sums + row, stride};
  }
};

// The cache of one layer and key/value head.
template <Extent HeadDim>
struct KvHead {
  const std::byte* keys;
  const std::byte* values;
  HeadDim head_dim;
  std::size_t capacity;
};

// Scores of kRows queries and 16 * kColumns positions from `position` on (a multiple of 16), without any mask.
template <KvType kType, std::size_t kColumns, std::size_t kRows, Extent HeadDim>
HWY_INLINE void ScoreColumns(const KvHead<HeadDim>& kv, const Queries& queries, std::size_t position, float scale,
                             float* scores) {
  const std::size_t width = kv.head_dim;
  if constexpr (kType != KvType::kQ8) {
    Lanes16 sum[kColumns][kRows];
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) {
      HWY_UNROLL(16)
      for (std::size_t r = 0; r < kRows; ++r) sum[c][r] = Set16(0.0f);
    }
    for (std::size_t i = 0; i < width; ++i) {
      Lanes16 key[kColumns];
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) key[c] = LoadKv16<kType>(kv.keys, (position + c * 16) * width + i * 16);
      HWY_UNROLL(16)
      for (std::size_t r = 0; r < kRows; ++r) {
        const Lanes16 query = Set16(queries.values[r * queries.stride + i]);
        HWY_UNROLL(16)
        for (std::size_t c = 0; c < kColumns; ++c) sum[c][r] = MulAdd16(key[c], query, sum[c][r]);
      }
    }
    const Lanes16 factor = Set16(scale);
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) {
      HWY_UNROLL(16)
      for (std::size_t r = 0; r < kRows; ++r) {
        Store16(Mul16(sum[c][r], factor), scores + r * kAttentionScoreStride + c * 16);
      }
    }
  } else {
    const std::size_t width4 = RoundUp(width, 4);
    const float* key_scales = KvScales(kv.keys, width, kv.capacity) + position;
    for (std::size_t c = 0; c < kColumns; ++c) {
      const std::int8_t* keys = reinterpret_cast<const std::int8_t*>(kv.keys) + (position + c * 16) * width4;
      for (std::size_t r = 0; r < kRows; ++r) {
        std::int32_t dots[16] = {};
        for (std::size_t i = 0; i < width4; i += 4) {
          for (std::size_t lane = 0; lane < 16; ++lane) {
            for (std::size_t j = 0; j < 4; ++j) {
              dots[lane] += keys[i * 16 + lane * 4 + j] * queries.bytes[r * queries.stride + i + j];
            }
          }
        }
        const Lanes16 factor = Mul16(Load16(key_scales + c * 16), Set16(scale * queries.scales[r]));
        Store16(Mul16(LoadI32x16(dots), factor), scores + r * kAttentionScoreStride + c * 16);
      }
    }
  }
}

// Scores of `rows` (1 .. kRows) queries and the 64 positions of one chunk.
template <KvType kType, std::size_t kRows, Extent HeadDim>
HWY_INLINE void ScoreChunk(std::size_t rows, const KvHead<HeadDim>& kv, const Queries& queries, std::size_t position,
                           float scale, float* scores) {
  if (rows == kRows) {
    constexpr std::size_t kColumns = ColumnsPerQueries(kRows);
    for (std::size_t c = 0; c < kKvChunk / 16; c += kColumns) {
      ScoreColumns<kType, kColumns, kRows>(kv, queries, position + c * 16, scale, scores + c * 16);
    }
  } else if constexpr (kRows > 1) {
    ScoreChunk<kType, kRows - 1>(rows, kv, queries, position, scale, scores);
  }
}

// sums[r, 16 columns...] += weights[r, p] * values[p, ...] for positions [begin, end) in order. `weights` points at those of
// position 0 of the first query (so weights[begin] is the first that is read).
template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_INLINE void WeighColumns(const std::byte* values, std::size_t value_stride, std::size_t column, const float* weights,
                             std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  Lanes16 sum[kColumns][kRows];
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) sum[c][r] = Load16(sums + r * sum_stride + column + c * 16);
  }
  for (std::size_t p = begin; p < end; ++p) {
    Lanes16 value[kColumns];
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) value[c] = LoadKv16<kType>(values, p * value_stride + column + c * 16);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Lanes16 weight = Set16(weights[r * kAttentionScoreStride + p]);
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) sum[c][r] = MulAdd16(value[c], weight, sum[c][r]);
    }
  }
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) Store16(sum[c][r], sums + r * sum_stride + column + c * 16);
  }
}

template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_INLINE void WeighRows(const std::byte* values, std::size_t value_stride, std::size_t column, const float* weights,
                          std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  for (; column + kColumns * 16 <= value_stride; column += kColumns * 16) {
    WeighColumns<kType, kColumns, kRows>(values, value_stride, column, weights, begin, end, sums, sum_stride);
  }
  if constexpr (kColumns > 1) {
    if (column < value_stride) {
      WeighRows<kType, kColumns / 2, kRows>(values, value_stride, column, weights, begin, end, sums, sum_stride);
    }
  }
}

// All columns, `rows` (1 .. kRows) queries.
template <KvType kType, std::size_t kRows>
HWY_INLINE void Weigh(std::size_t rows, const std::byte* values, std::size_t value_stride, const float* weights,
                      std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  if (rows == kRows) {
    WeighRows<kType, ColumnsPerQueries(kRows), kRows>(values, value_stride, 0, weights, begin, end, sums, sum_stride);
  } else if constexpr (kRows > 1) {
    Weigh<kType, kRows - 1>(rows, values, value_stride, weights, begin, end, sums, sum_stride);
  }
}

// What `rows` queries see: query r is row first_row + r of the token-major list of (token, head of the group).
struct QueryPositions {
  const AttentionShape& shape;
  std::size_t first_position;  // of token 0
  std::size_t first_row;

  std::size_t Position(std::size_t row) const { return first_position + (first_row + row) / shape.group; }
  // The part of the span starting at `span_begin` that the query sees, relative to it: [Begin, End), maybe empty.
  std::size_t Begin(std::size_t row, std::size_t span_begin) const {
    const std::size_t first = shape.First(Position(row));
    return first <= span_begin ? 0 : std::min(first - span_begin, kKvSpan);
  }
  std::size_t End(std::size_t row, std::size_t span_begin) const {
    const std::size_t end = Position(row) + 1;
    return end <= span_begin ? 0 : std::min(end - span_begin, kKvSpan);
  }
};

// Turns the scores of one query, positions [begin, end) of a span, into weights e^(score - largest) and fills in the
// partial result's largest and sum. For Q8 the weights take in the scales of the values.
template <KvType kType>
HWY_INLINE void SoftmaxSpan(float* scores, std::size_t begin, std::size_t end, const float* value_scales, float* partial) {
  const float lowest = -std::numeric_limits<float>::infinity();
  const auto keep = [&](const Lanes16& value, std::size_t at, float other) HWY_ATTR {
    if (HWY_LIKELY(at >= begin && at + 16 <= end)) return value;
    return KeepRange16(value, begin > at ? begin - at : 0, std::min<std::size_t>(end - at, 16), other);
  };
  Lanes16 most = Set16(lowest);
  for (std::size_t at = begin / 16 * 16; at < end; at += 16) most = Max16(most, keep(Load16(scores + at), at, lowest));
  const float largest = Largest16(most);
  const Lanes16 offset = Set16(largest);
  Lanes16 sum = Set16(0.0f);
  for (std::size_t at = begin / 16 * 16; at < end; at += 16) {
    const Lanes16 weight = ExpNegative16(Sub16(Load16(scores + at), offset));
    sum = Add16(sum, keep(weight, at, 0.0f));
    if constexpr (kType == KvType::kQ8) {
      Store16(Mul16(weight, Load16(value_scales + at)), scores + at);
    } else {
      Store16(weight, scores + at);
    }
  }
  Store16(Set16(0.0f), partial);
  partial[0] = largest;
  partial[1] = Sum16(sum);
}

// Partial results of `rows` queries over one span. Each query sees at least one of the span's positions.
template <KvType kType, Extent HeadDim>
inline void AttendRows(const KvHead<HeadDim>& kv, const Queries& queries, const QueryPositions& sees, std::size_t rows,
                       std::size_t span_begin, float* scores, float* partials) {
  const std::size_t partial_stride = PartialStride(kv.head_dim);
  const std::size_t value_stride = KvValueStride(kv.head_dim);
  const std::size_t blocks = DivideUp(rows, kMaxTileQueries);
  // Queries are in order of position, so a block of them sees from where the first begins to where the last ends.
  const std::size_t chunk_begin = sees.Begin(0, span_begin) / kKvChunk * kKvChunk;
  const std::size_t chunk_end = sees.End(rows - 1, span_begin);
  for (std::size_t chunk = chunk_begin; chunk < chunk_end; chunk += kKvChunk) {
    for (std::size_t block = 0, row = 0; block < blocks; ++block) {
      const std::size_t count = (rows - row) / (blocks - block);
      const bool seen = sees.Begin(row, span_begin) < chunk + kKvChunk && sees.End(row + count - 1, span_begin) > chunk;
      if (seen) {
        ScoreChunk<kType, kMaxTileQueries>(count, kv, queries.From(row), span_begin + chunk, sees.shape.scale,
                                           scores + row * kAttentionScoreStride + chunk);
      }
      row += count;
    }
  }
  const float* value_scales = nullptr;
  if constexpr (kType == KvType::kQ8) value_scales = KvScales(kv.values, kv.head_dim, kv.capacity) + span_begin;
  for (std::size_t row = 0; row < rows; ++row) {
    float* partial = partials + row * partial_stride;
    SoftmaxSpan<kType>(scores + row * kAttentionScoreStride, sees.Begin(row, span_begin), sees.End(row, span_begin), value_scales,
                       partial);
    for (std::size_t i = 0; i < value_stride; i += 16) Store16(Set16(0.0f), partial + 16 + i);
  }
  const std::size_t element = kType == KvType::kF32 ? 4 : kType == KvType::kQ8 ? 1 : 2;
  const std::byte* values = kv.values + span_begin * value_stride * element;
  for (std::size_t chunk = chunk_begin; chunk < chunk_end; chunk += kKvChunk) {
    for (std::size_t block = 0, row = 0; block < blocks; ++block) {
      const std::size_t count = (rows - row) / (blocks - block);
      const auto weigh = [&](std::size_t first, std::size_t n, std::size_t begin, std::size_t end) HWY_ATTR {
        if (begin < end) {
          Weigh<kType, kMaxTileQueries>(n, values, value_stride, scores + first * kAttentionScoreStride, begin, end,
                                        partials + first * partial_stride + 16, partial_stride);
        }
      };
      const auto begin_of = [&](std::size_t r) { return std::clamp(sees.Begin(r, span_begin), chunk, chunk + kKvChunk); };
      const auto end_of = [&](std::size_t r) { return std::clamp(sees.End(r, span_begin), chunk, chunk + kKvChunk); };
      // Positions that all queries of the block see, and for each query alone those before and after.
      const std::size_t common_begin = begin_of(row + count - 1), common_end = end_of(row);
      if (common_begin < common_end) {
        for (std::size_t r = row; r < row + count; ++r) weigh(r, 1, begin_of(r), common_begin);
        weigh(row, count, common_begin, common_end);
        for (std::size_t r = row; r < row + count; ++r) weigh(r, 1, common_end, end_of(r));
      } else {
        for (std::size_t r = row; r < row + count; ++r) weigh(r, 1, begin_of(r), end_of(r));
      }
      row += count;
    }
  }
}

// Adds the next span's partial result to that of all spans before it.
inline void MergePartial(const float* next, std::size_t value_stride, float* merged) {
  const float largest = std::max(merged[0], next[0]);
  alignas(64) float factors[16] = {merged[0] - largest, next[0] - largest};
  Store16(ExpNegative16(Load16(factors)), factors);
  const Lanes16 before = Set16(factors[0]), after = Set16(factors[1]);
  // The first sixteen hold the sum, which merges like the values, and the largest score, which does not.
  for (std::size_t i = 0; i < 16 + value_stride; i += 16) {
    Store16(MulAdd16(Load16(merged + i), before, Mul16(Load16(next + i), after)), merged + i);
  }
  merged[0] = largest;
}

// out [head_dim] = the weighted values over the sum of weights.
inline void FinishPartial(const float* partial, std::size_t head_dim, float* out) {
  const Lanes16 scale = Set16(1.0f / partial[1]);
  ForEach16(head_dim, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(Load16(partial + 16 + i), scale), out + i, count);
  });
}

// The parts of the working memory of one call.
struct AttentionScratch {
  AttentionScratch(float* memory, std::size_t head_dim)
      : partials(memory),
        merged(partials + AttentionRows(head_dim) * PartialStride(head_dim)),
        scores(merged + AttentionRows(head_dim) * PartialStride(head_dim)),
        queries(scores + AttentionRows(head_dim) * kAttentionScoreStride),
        scales(queries + AttentionRows(head_dim) * RoundUp(head_dim, 16)),
        sums(reinterpret_cast<std::int32_t*>(scales + AttentionRows(head_dim))) {}
  float* partials;
  float* merged;
  float* scores;
  float* queries;
  float* scales;
  std::int32_t* sums;
};

// Makes the form of queries that is multiplied with keys: rows [first_row, first_row + rows) of the token-major list of
// (token, head), token t at queries + t * stride.
template <KvType kType>
inline Queries PrepareQueries(const float* queries, std::size_t stride, std::size_t group, std::size_t head_dim,
                              std::size_t first_row, std::size_t rows, const AttentionScratch& scratch) {
  Queries prepared;
  std::size_t token = first_row / group, head = first_row % group;
  if constexpr (kType != KvType::kQ8) {
    // Heads of one token lie side by side already.
    if (head + rows <= group) {
      prepared.values = queries + token * stride + head * head_dim;
      prepared.stride = head_dim;
      return prepared;
    }
    prepared.values = scratch.queries;
  } else {
    prepared.bytes = reinterpret_cast<const std::int8_t*>(scratch.queries);
    prepared.scales = scratch.scales;
    prepared.sums = scratch.sums;
  }
  prepared.stride = RoundUp(head_dim, 16);
  for (std::size_t row = 0; row < rows; ++row) {
    const float* from = queries + token * stride + head * head_dim;
    if constexpr (kType != KvType::kQ8) {
      std::copy_n(from, head_dim, scratch.queries + row * prepared.stride);
    } else {
      std::int8_t* bytes = reinterpret_cast<std::int8_t*>(scratch.queries) + row * prepared.stride;
      scratch.scales[row] = QuantizeRow(from, head_dim, bytes);
      std::fill(bytes + head_dim, bytes + prepared.stride, std::int8_t{0});
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < head_dim; ++i) sum += bytes[i];
      scratch.sums[row] = sum;
    }
    if (++head == group) {
      head = 0;
      ++token;
    }
  }
  return prepared;
}

}  // namespace detail

// Attention of tokens [token_begin, token_end) to one key/value head, all `shape.group` heads of its queries.
//   keys, values  one layer and head's cache (KvHeadBytes each); the tokens' own keys and values are stored already
//   queries       head h of token t at queries + t * query_stride + h * head_dim, rotated, not scaled
//   first_position  absolute position of token 0: token t is at first_position + t and sees keys up to its own
//   out           head h of token t goes to out + t * out_stride + h * head_dim
//   scratch       AttentionScratchFloats(head_dim) floats at a multiple of 64 bytes, for this call alone
// Any split of tokens over calls gives the same bits, and so does AttendSpan with MergeSpans.
template <KvType kType, Extent HeadDim>
void AttendTokens(const AttentionShape& shape, const std::byte* keys, const std::byte* values, HeadDim head_dim,
                  const float* queries, std::size_t query_stride, std::size_t first_position, std::size_t token_begin,
                  std::size_t token_end, float* out, std::size_t out_stride, float* scratch) {
  const detail::KvHead<HeadDim> kv{keys, values, head_dim, shape.capacity};
  const detail::AttentionScratch memory(scratch, head_dim);
  const std::size_t partial_stride = PartialStride(head_dim);
  const std::size_t row_end = token_end * shape.group;
  for (std::size_t row = token_begin * shape.group; row < row_end; row += AttentionRows(head_dim)) {
    const std::size_t rows = std::min(AttentionRows(head_dim), row_end - row);
    const detail::Queries prepared =
        detail::PrepareQueries<kType>(queries, query_stride, shape.group, head_dim, row, rows, memory);
    const detail::QueryPositions sees{shape, first_position, row};
    const std::size_t last = sees.Position(rows - 1);
    for (std::size_t span = shape.First(sees.Position(0)) / kKvSpan * kKvSpan; span <= last; span += kKvSpan) {
      // Queries are in order of position: those that see something of the span are neighbours.
      std::size_t begin = 0, end = rows;
      while (sees.End(begin, span) == 0) ++begin;
      while (end > begin && sees.Begin(end - 1, span) == kKvSpan) --end;
      if (begin == end) continue;
      const detail::QueryPositions active{shape, first_position, row + begin};
      detail::AttendRows<kType>(kv, prepared.From(begin), active, end - begin, span, memory.scores, memory.partials);
      for (std::size_t r = begin; r < end; ++r) {
        const float* partial = memory.partials + (r - begin) * partial_stride;
        float* merged = memory.merged + r * partial_stride;
        if (shape.First(sees.Position(r)) >= span) {
          std::copy_n(partial, partial_stride, merged);
        } else {
          detail::MergePartial(partial, KvValueStride(head_dim), merged);
        }
      }
    }
    std::size_t token = row / shape.group, head = row % shape.group;
    for (std::size_t r = 0; r < rows; ++r) {
      detail::FinishPartial(memory.merged + r * partial_stride, head_dim, out + token * out_stride + head * head_dim);
      if (++head == shape.group) {
        head = 0;
        ++token;
      }
    }
  }
}

// One token's part of AttendTokens over one span, for spreading a long context over threads: `span` is one of
// AttentionSpans(shape, position). `query` is [group, head_dim]; `partials` [group, PartialStride(head_dim)] is written.
template <KvType kType, Extent HeadDim>
void AttendSpan(const AttentionShape& shape, const std::byte* keys, const std::byte* values, HeadDim head_dim,
                const float* query, std::size_t position, std::size_t span, float* partials, float* scratch) {
  const detail::KvHead<HeadDim> kv{keys, values, head_dim, shape.capacity};
  const detail::AttentionScratch memory(scratch, head_dim);
  for (std::size_t row = 0; row < shape.group; row += AttentionRows(head_dim)) {
    const std::size_t rows = std::min(AttentionRows(head_dim), shape.group - row);
    const detail::Queries prepared = detail::PrepareQueries<kType>(query, 0, shape.group, head_dim, row, rows, memory);
    detail::AttendRows<kType>(kv, prepared, detail::QueryPositions{shape, position, row}, rows, span * kKvSpan,
                              memory.scores, partials + row * PartialStride(head_dim));
  }
}

// Merges the partial results [spans, group, PartialStride(head_dim)] of all spans of a token, in order, into
// out [group, head_dim]. Overwrites the first span's partial results.
inline void MergeSpans(const AttentionShape& shape, std::size_t head_dim, std::size_t spans, float* partials, float* out) {
  const std::size_t stride = PartialStride(head_dim);
  for (std::size_t head = 0; head < shape.group; ++head) {
    float* merged = partials + head * stride;
    for (std::size_t span = 1; span < spans; ++span) {
      detail::MergePartial(partials + (span * shape.group + head) * stride, KvValueStride(head_dim), merged);
    }
    detail::FinishPartial(merged, head_dim, out + head * head_dim);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

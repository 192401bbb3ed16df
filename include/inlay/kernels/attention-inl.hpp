// Attention of the query heads that share one key/value head: storing keys and values, scores, softmax, weighted values.
//
// One algorithm for prefill and decode. A query goes through the positions it sees in spans (kKvSpan): scores of
// the whole span, its largest, exponentials, weighted values. The partial results of spans are merged in order. Every
// score is one chain over head_dim, every output element one chain over the positions of a span, sums of exponentials run
// over 16 lanes; nothing depends on how many queries or spans are computed together. Where keys and values are integers
// (KvType Q8 and Q4), so are the queries (8 bits) and a span's weights (16 bits), and their products are exact. So tokens one by one, in blocks of
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
#include <type_traits>

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
}

// How far ahead of their use keys and values are asked for, in bytes. A span of keys and then one of values is too short a
// stream for what processors fetch by themselves.
constexpr std::size_t kKvAhead = 8192;

// Where element 0 of the key of `position` is, in elements; the next elements are kKvChunk (of integers: in fours) further.
constexpr std::size_t KeyStart(std::size_t width, std::size_t position) {
  return position / kKvChunk * kKvChunk * width + position % kKvChunk;
}
constexpr std::size_t WordKeyStart(KvType type, std::size_t width, std::size_t position) {
  return position / kKvChunk * kKvChunk * 4 * KvKeyRows(type, width) + position % kKvChunk * 4;
}

template <KvType kType>
inline const float* KvScales(const std::byte* base, std::size_t head_dim, std::size_t capacity) {
  return reinterpret_cast<const float*>(base + KvScaleOffset(kType, head_dim, capacity));
}

// Stores integers that fit Integer (8 or 16 bits), held as 12582912 + n: in the low bits of the mantissa. A product and
// 12582912 = 1.5 * 2^23 added in one step is rounded to an integer, ties to even.
template <class Integer>
HWY_INLINE void StoreIntegers16(const Lanes16& shifted, std::byte* to) {
#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE
  Integer integers[16];
  for (std::size_t i = 0; i < 16; ++i) integers[i] = static_cast<Integer>(std::bit_cast<std::uint32_t>(shifted.lane[i]));
  std::memcpy(to, integers, sizeof(integers));
#else
  const hn::Rebind<Integer, FloatTag> narrow;
  const WordTag wide;
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVectorsPer16; ++i) {
    const Words number = hn::Sub(hn::BitCast(wide, shifted.vector[i]), hn::Set(wide, std::int32_t{0x4B400000}));
    hn::StoreU(hn::DemoteTo(narrow, number), narrow, reinterpret_cast<Integer*>(to) + i * kVectorLanes);
  }
#endif
}

// out[i] = round(x[i] / scale) with scale = max |x| / 127, which is returned. NaN or infinity in x makes the scale NaN.
// Writes zeros up to the next multiple of 16.
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
    const Lanes16 value = LoadUpTo16(x + i, count);
    StoreIntegers16<std::int8_t>(MulAdd16(value, inverse, Set16(12582912.0f)), reinterpret_cast<std::byte*>(out + i));
  });
  return (tiny ? 0.0f : magnitude / 127.0f) + Sum16(probe);
}

// out[i] = 8 + round(x[i] / scale), at most 15, where the element of the largest magnitude becomes 0: the scale, which is
// returned, has the sign that it takes. Of two that differ by their sign the positive one. Otherwise as QuantizeRow. `n` elements,
// then 8 (zero) up to the next multiple of 16.
inline float QuantizeNibbles(const float* x, std::size_t n, std::int8_t* out) {
  Lanes16 most = Set16(0.0f), least = Set16(0.0f), probe = Set16(0.0f);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 value = LoadUpTo16(x + i, count);
    most = Max16(most, value);
    least = Max16(least, Sub16(Set16(0.0f), value));
    probe = MulAdd16(value, Set16(0.0f), probe);
  });
  const float positive = Largest16(most), negative = Largest16(least);
  const float signed_most = positive >= negative ? positive : -negative;
  const bool tiny = !(std::max(positive, negative) > 1e-30f);
  const Lanes16 inverse = Set16(tiny ? 0.0f : -8.0f / signed_most);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 shifted = MulAdd16(LoadUpTo16(x + i, count), inverse, Set16(12582912.0f));
    StoreIntegers16<std::int8_t>(Add16(Min16(shifted, Set16(12582919.0f)), Set16(8.0f)), reinterpret_cast<std::byte*>(out + i));
  });
  return (tiny ? 0.0f : signed_most / -8.0f) + Sum16(probe);
}

// Rounds to nearest even. A finite number stays finite: beyond the range of F16 it becomes the largest F16.
template <KvType kType>
HWY_INLINE void StoreHalves16(const Lanes16& value, std::uint16_t* to) {
  if constexpr (kType == KvType::kF16) {
    StoreF16x16(Max16(Set16(-kMaxF16), Min16(Set16(kMaxF16), value)), to);
  } else {
    StoreBF16x16(value, to);
  }
}

}  // namespace detail

// Stores the key of one position, `key` [head_dim], in one layer and head's cache (KvKeyBytes at `keys`).
template <KvType kType, Extent HeadDim>
inline void StoreKey(std::byte* keys, HeadDim head_dim, std::size_t capacity, std::size_t position, const float* key) {
  const std::size_t width = head_dim;
  if constexpr (kType == KvType::kF32) {
    float* to = reinterpret_cast<float*>(keys) + detail::KeyStart(width, position);
    for (std::size_t i = 0; i < width; ++i) to[i * kKvChunk] = key[i];
  } else if constexpr (kType == KvType::kQ8) {
    std::int8_t row[RoundUp(kMaxKvHeadDim, 16)];
    const float scale = detail::QuantizeRow(key, width, row);
    std::byte* to = keys + detail::WordKeyStart(kType, width, position);
    for (std::size_t i = 0; i < width; i += 4) std::memcpy(to + i * kKvChunk, row + i, 4);
    const_cast<float*>(detail::KvScales<kType>(keys, width, capacity))[position] = scale;
  } else if constexpr (kType == KvType::kQ4) {
    float* const scales = const_cast<float*>(detail::KvScales<kType>(keys, width, capacity)) + position;
    std::byte* const to = keys + detail::WordKeyStart(kType, width, position);
    for (std::size_t begin = 0; begin < width; begin += kKvBlock) {
      const std::size_t count = std::min(width - begin, kKvBlock);
      std::int8_t row[kKvBlock];
      scales[begin / kKvBlock * capacity] = detail::QuantizeNibbles(key + begin, count, row);
      for (std::size_t i = 0; i < count; i += 8) {
        for (std::size_t j = 0; j < 4; ++j) {
          to[(begin + i) / 8 * 4 * kKvChunk + j] = static_cast<std::byte>(row[i + j] | (row[i + j + 4] << 4));
        }
      }
    }
  } else {
    std::uint16_t* to = reinterpret_cast<std::uint16_t*>(keys) + detail::KeyStart(width, position);
    ForEach16(width, [&](std::size_t i, std::size_t count) HWY_ATTR {
      alignas(32) std::uint16_t halves[16];
      detail::StoreHalves16<kType>(LoadUpTo16(key + i, count), halves);
      for (std::size_t j = 0; j < count; ++j) to[(i + j) * kKvChunk] = halves[j];
    });
  }
}

// Stores the value of one position, as StoreKey.
template <KvType kType, Extent HeadDim>
inline void StoreValue(std::byte* values, HeadDim head_dim, std::size_t capacity, std::size_t position,
                       const float* value) {
  const std::size_t width = head_dim;
  const std::size_t stride = KvValueStride(kType, width);
  if constexpr (kType == KvType::kF32) {
    float* to = reinterpret_cast<float*>(values) + position * stride;
    std::copy_n(value, width, to);
    std::fill(to + width, to + stride, 0.0f);
  } else if constexpr (kType == KvType::kQ8) {
    std::int8_t row[RoundUp(kMaxKvHeadDim, 16)];
    const_cast<float*>(detail::KvScales<kType>(values, width, capacity))[position] = detail::QuantizeRow(value, width, row);
    std::int8_t* to = reinterpret_cast<std::int8_t*>(values) + position / 2 * 2 * stride + position % 2;
    for (std::size_t i = 0; i < stride; ++i) to[i * 2] = row[i];
  } else if constexpr (kType == KvType::kQ4) {
    std::int8_t row[RoundUp(kMaxKvHeadDim, 32)];
    const_cast<float*>(detail::KvScales<kType>(values, width, capacity))[position] = detail::QuantizeNibbles(value, width, row);
    std::fill(row + RoundUp(width, 16), row + stride, std::int8_t{8});
    std::byte* to = values + position / 2 * stride + position % 2;
    for (std::size_t i = 0; i < stride; i += 32) {
      for (std::size_t j = 0; j < 16; ++j) to[i + j * 2] = static_cast<std::byte>(row[i + j] | (row[i + j + 16] << 4));
    }
  } else {
    std::uint16_t* to = reinterpret_cast<std::uint16_t*>(values) + position * stride;
    ForEach16(width, [&](std::size_t i, std::size_t count) HWY_ATTR {
      alignas(32) std::uint16_t halves[16];
      detail::StoreHalves16<kType>(LoadUpTo16(value + i, count), halves);
      std::copy_n(halves, std::min<std::size_t>(stride - i, 16), to + i);
    });
  }
}

namespace detail {

// One query as it is multiplied with keys. [rows, stride] float32, or for integers [rows, stride] int8 with scales and sums.
struct Queries {
  const float* values = nullptr;
  const std::int8_t* bytes = nullptr;
  const float* scales = nullptr;       // of the int8 values
  const std::int32_t* sums = nullptr;  // [rows, sum_stride] of the int8 values that share a key's scale, which pay for taking
                                       // keys as unsigned
  std::size_t stride = 0;
  std::size_t sum_stride = 1;

  Queries From(std::size_t row) const {
    return {values == nullptr ? nullptr : values + row * stride, bytes == nullptr ? nullptr : bytes + row * stride,
            scales == nullptr ? nullptr : scales + row, sums == nullptr ? nullptr : sums + row * sum_stride, stride,
            sum_stride};
  }
};

// Values that are the first elements of the keys are only compiled in where the width of values is not a constant.
template <Extent ValueDim>
inline constexpr bool kMayShareValues = std::is_same_v<ValueDim, DynamicExtent>;

// The cache of one layer and key/value head.
template <Extent HeadDim, Extent ValueDim>
struct KvHead {
  const std::byte* keys;
  const std::byte* values;  // nullptr: the first value_dim elements of the keys
  HeadDim head_dim;
  ValueDim value_dim;
  std::size_t capacity;
};

// Dot products of kRows int8 queries and 16 * kColumns int8 keys. Integers: exact, whatever the order.
template <std::size_t kColumns, std::size_t kRows>
HWY_INLINE void DotColumns(const std::int8_t* keys, std::size_t width4, const Queries& queries,
                           Lanes16 (&dots)[kColumns][kRows]) {
#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE
  for (std::size_t c = 0; c < kColumns; ++c) {
    for (std::size_t r = 0; r < kRows; ++r) {
      std::int32_t sums[16] = {};
      for (std::size_t i = 0; i < width4; i += 4) {
        const std::int8_t* key = keys + i * kKvChunk + c * 64;
        const std::int8_t* query = queries.bytes + r * queries.stride + i;
        for (std::size_t lane = 0; lane < 16; ++lane) {
          for (std::size_t j = 0; j < 4; ++j) sums[lane] += key[lane * 4 + j] * query[j];
        }
      }
      dots[c][r] = LoadI32x16(sums);
    }
  }
#else
  const WordTag d;
  constexpr std::size_t kParts = 16 / kWordLanes;
  constexpr std::size_t kVectors = kColumns * kParts;
  Words sum[kVectors][kRows];
  HWY_UNROLL(16)
  for (std::size_t r = 0; r < kRows; ++r) {
    // With unsigned keys, 128 too large, the sum of the query is counted 128 times too often.
    const Words start = INLAY_DOT4_UNSIGNED ? hn::Set(d, -128 * queries.sums[r]) : hn::Zero(d);
    HWY_UNROLL(16)
    for (std::size_t v = 0; v < kVectors; ++v) sum[v][r] = start;
  }
  for (std::size_t i = 0; i < width4; i += 4) {
    const std::uint8_t* const words = reinterpret_cast<const std::uint8_t*>(keys) + i * kKvChunk;
    FetchAhead<kKvAhead, kColumns * 64>(words);
    Words key[kVectors];
    HWY_UNROLL(16)
    for (std::size_t v = 0; v < kVectors; ++v) {
      key[v] = LoadWords(words + v * kWordLanes * 4);
#if INLAY_DOT4_UNSIGNED
      key[v] = hn::Xor(key[v], hn::Set(d, static_cast<std::int32_t>(0x80808080u)));
#endif
    }
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Words query = BroadcastWord(queries.bytes + r * queries.stride + i);
      HWY_UNROLL(16)
      for (std::size_t v = 0; v < kVectors; ++v) {
#if INLAY_MADDUBS
        // |key| * (query with the key's sign): two products of at most 127 * 127 fit 16 bits.
        const Words pairs = MultiplyBytesToPairs(AbsoluteBytes(key[v]), TakeSigns(query, key[v]));
        sum[v][r] = AccumulatePairs(sum[v][r], pairs, hn::Set(d, 0x00010001));
#else
        sum[v][r] = AccumulateDot4(sum[v][r], key[v], query);
#endif
        Pin(sum[v][r]);
      }
    }
  }
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      HWY_UNROLL(16)
      for (std::size_t part = 0; part < kParts; ++part) {
        dots[c][r].vector[part] = hn::ConvertTo(FloatTag(), sum[c * kParts + part][r]);
      }
    }
  }
#endif
}

// The same for keys of 4 bits, with their scales: a float for every block of 32. `key_scales` are the first block's, those of
// the next `capacity` further.
template <std::size_t kColumns, std::size_t kRows>
HWY_INLINE void DotNibbleColumns(const std::byte* keys, std::size_t width, const float* key_scales, std::size_t capacity,
                                 const Queries& queries, Lanes16 (&dots)[kColumns][kRows]) {
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) dots[c][r] = Set16(0.0f);
  }
  for (std::size_t block = 0; block * kKvBlock < width; ++block) {
    const std::size_t begin = block * kKvBlock, end = std::min(width, begin + kKvBlock);
#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE
    for (std::size_t c = 0; c < kColumns; ++c) {
      for (std::size_t r = 0; r < kRows; ++r) {
        std::int32_t sums[16] = {};
        for (std::size_t i = begin; i < end; i += 8) {
          const std::byte* key = keys + i / 8 * 4 * kKvChunk + c * 64;
          const std::int8_t* query = queries.bytes + r * queries.stride + i;
          for (std::size_t lane = 0; lane < 16; ++lane) {
            for (std::size_t j = 0; j < 4; ++j) {
              const int both = std::to_integer<int>(key[lane * 4 + j]);
              sums[lane] += ((both & 15) - 8) * query[j] + ((both >> 4) - 8) * query[j + 4];
            }
          }
        }
        dots[c][r] = MulAdd16(LoadI32x16(sums), Load16(key_scales + block * capacity + c * 16), dots[c][r]);
      }
    }
#else
    const WordTag d;
    constexpr std::size_t kParts = 16 / kWordLanes;
    constexpr std::size_t kVectors = kColumns * kParts;
    Words sum[kVectors][kRows];
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Words start = hn::Set(d, -8 * queries.sums[r * queries.sum_stride + block]);
      HWY_UNROLL(16)
      for (std::size_t v = 0; v < kVectors; ++v) sum[v][r] = start;
    }
    for (std::size_t i = begin; i < end; i += 8) {
      const std::byte* const words = keys + i / 8 * 4 * kKvChunk;
      FetchAhead<kKvAhead, kColumns * 64>(words);
      Words low[kVectors], high[kVectors];
      HWY_UNROLL(16)
      for (std::size_t v = 0; v < kVectors; ++v) {
        const Words both = LoadWords(reinterpret_cast<const std::uint8_t*>(words) + v * kWordLanes * 4);
        low[v] = hn::And(both, hn::Set(d, 0x0F0F0F0F));
        high[v] = hn::And(hn::ShiftRight<4>(both), hn::Set(d, 0x0F0F0F0F));
      }
      HWY_UNROLL(16)
      for (std::size_t r = 0; r < kRows; ++r) {
        const Words first = BroadcastWord(queries.bytes + r * queries.stride + i);
        const Words second = BroadcastWord(queries.bytes + r * queries.stride + i + 4);
        HWY_UNROLL(16)
        for (std::size_t v = 0; v < kVectors; ++v) {
#if INLAY_MADDUBS
          // Four products of at most 15 * 127 fit 16 bits.
          const Words pairs = AddPairs(MultiplyBytesToPairs(low[v], first), MultiplyBytesToPairs(high[v], second));
          sum[v][r] = AccumulatePairs(sum[v][r], pairs, hn::Set(d, 0x00010001));
#else
          sum[v][r] = AccumulateDot4(AccumulateDot4(sum[v][r], low[v], first), high[v], second);
#endif
          Pin(sum[v][r]);
        }
      }
    }
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) {
      const Lanes16 scale = Load16(key_scales + block * capacity + c * 16);
      HWY_UNROLL(16)
      for (std::size_t r = 0; r < kRows; ++r) {
        Lanes16 total;
        HWY_UNROLL(16)
        for (std::size_t part = 0; part < kParts; ++part) {
          total.vector[part] = hn::ConvertTo(FloatTag(), sum[c * kParts + part][r]);
        }
        dots[c][r] = MulAdd16(total, scale, dots[c][r]);
      }
    }
#endif
  }
}

// Dot products of kRows float32 queries and 16 * kColumns keys of a float type, each one chain over head_dim.
template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_INLINE void DotColumns(const std::byte* keys, std::size_t width, const Queries& queries,
                           Lanes16 (&dots)[kColumns][kRows]) {
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) dots[c][r] = Set16(0.0f);
  }
  for (std::size_t i = 0; i < width; ++i) {
    FetchAhead<kKvAhead, kColumns * 16 * KvElementBytes(kType)>(keys + i * kKvChunk * KvElementBytes(kType));
    Lanes16 key[kColumns];
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) key[c] = LoadKv16<kType>(keys, i * kKvChunk + c * 16);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Lanes16 query = Set16(queries.values[r * queries.stride + i]);
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) dots[c][r] = MulAdd16(key[c], query, dots[c][r]);
    }
  }
}

// Scores of kRows queries and 16 * kColumns positions from `position` on (a multiple of 16), without any mask.
// A function of its own, as the others with a register tile: inlined into one large function, GCC keeps the sums of integers
// in memory (decode with Q8, Zen 4: 12 instead of 22 multiply-adds per cycle).
template <KvType kType, std::size_t kColumns, std::size_t kRows, Extent HeadDim, Extent ValueDim>
HWY_NOINLINE void ScoreColumns(const KvHead<HeadDim, ValueDim>& kv, const Queries& queries, std::size_t position, float scale,
                             float* scores) {
  const std::size_t width = kv.head_dim;
  Lanes16 dots[kColumns][kRows];
  if constexpr (kType == KvType::kQ8) {
    const std::size_t width4 = RoundUp(width, 4);
    const float* key_scales = KvScales<kType>(kv.keys, width, kv.capacity) + position;
    DotColumns(reinterpret_cast<const std::int8_t*>(kv.keys) + WordKeyStart(kType, width, position), width4, queries, dots);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Lanes16 factor = Set16(scale * queries.scales[r]);
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) {
        Store16(Mul16(Mul16(dots[c][r], Load16(key_scales + c * 16)), factor),
                scores + r * kAttentionScoreStride + c * 16);
      }
    }
  } else if constexpr (kType == KvType::kQ4) {
    DotNibbleColumns(kv.keys + WordKeyStart(kType, width, position), width,
                     KvScales<kType>(kv.keys, width, kv.capacity) + position, kv.capacity, queries, dots);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Lanes16 factor = Set16(scale * queries.scales[r]);
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) {
        Store16(Mul16(dots[c][r], factor), scores + r * kAttentionScoreStride + c * 16);
      }
    }
  } else {
    DotColumns<kType>(kv.keys + KeyStart(width, position) * KvElementBytes(kType), width, queries, dots);
    const Lanes16 factor = Set16(scale);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) {
        Store16(Mul16(dots[c][r], factor), scores + r * kAttentionScoreStride + c * 16);
      }
    }
  }
}

// Scores of `rows` (1 .. kRows) queries and the 64 positions of one chunk.
template <KvType kType, std::size_t kRows, Extent HeadDim, Extent ValueDim>
HWY_INLINE void ScoreChunk(std::size_t rows, const KvHead<HeadDim, ValueDim>& kv, const Queries& queries,
                           std::size_t position, float scale, float* scores) {
  if (rows == kRows) {
    // Q4 has sums of integers and of floats.
    constexpr std::size_t kColumns = DivideUp(ColumnsPerQueries(kRows), kType == KvType::kQ4 ? 2 : 1);
    for (std::size_t c = 0; c < kKvChunk / 16; c += kColumns) {
      ScoreColumns<kType, kColumns, kRows>(kv, queries, position + c * 16, scale, scores + c * 16);
    }
  } else if constexpr (kRows > 1) {
    ScoreChunk<kType, kRows - 1>(rows, kv, queries, position, scale, scores);
  }
}

// sums[r, 16 columns...] += weights[r, p] * values[p, ...] for positions [begin, end) in order.
template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_NOINLINE void WeighColumns(const std::byte* values, std::size_t value_stride, std::size_t column, const float* weights,
                             std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  Lanes16 sum[kColumns][kRows];
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) sum[c][r] = Load16(sums + r * sum_stride + column + c * 16);
  }
  for (std::size_t p = begin; p < end; ++p) {
    FetchAhead<kKvAhead, kColumns * 16 * KvElementBytes(kType)>(values + (p * value_stride + column) * KvElementBytes(kType));
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

// The same for heads of at most 16 (kPack 1) or 8 (kPack 2), one query: a value fills no more than one vector, so that one
// chain per lane would wait for itself (4 cycles a position). Four chains, by position modulo 4 * kPack, and then
// (0 + 1) + (2 + 3). Writes sums [16].
template <KvType kType, std::size_t kPack>
HWY_INLINE void WeighNarrow(const std::byte* values, const float* weights, std::size_t begin, std::size_t end,
                            float* sums) {
  constexpr std::size_t kPositionBytes = 16 / kPack * KvElementBytes(kType);
  constexpr std::size_t kGroup = 4 * kPack;
  Lanes16 sum[4];
  HWY_UNROLL(4)
  for (std::size_t v = 0; v < 4; ++v) sum[v] = Set16(0.0f);
  const auto add_group = [&](const std::byte* value, const float* weight) HWY_ATTR {
    HWY_UNROLL(4)
    for (std::size_t v = 0; v < 4; ++v) {
      const Lanes16 factor = kPack == 1 ? Set16(weight[v]) : SetHalves16(weight[2 * v], weight[(2 * v + 1) % kGroup]);
      sum[v] = MulAdd16(LoadKv16<kType>(value, v * 16), factor, sum[v]);
    }
  };
  // A group at the edge is completed with zeros: what lies outside must not be read as values.
  const auto add_part = [&](std::size_t from, std::size_t to) HWY_ATTR {
    alignas(64) std::byte value[kGroup * kPositionBytes] = {};
    float weight[kGroup] = {};
    const std::size_t at = from % kGroup;
    std::memcpy(value + at * kPositionBytes, values + from * kPositionBytes, (to - from) * kPositionBytes);
    std::copy(weights + from, weights + to, weight + at);
    add_group(value, weight);
  };
  std::size_t p = begin;
  if (p % kGroup != 0) {
    const std::size_t stop = std::min(end, RoundUp(p, kGroup));
    add_part(p, stop);
    p = stop;
  }
  for (; p + kGroup <= end; p += kGroup) add_group(values + p * kPositionBytes, weights + p);
  if (p < end) add_part(p, end);
  const Lanes16 total = Add16(Add16(sum[0], sum[1]), Add16(sum[2], sum[3]));
  Store16(kPack == 1 ? total : AddHalves16(total), sums);
}

// Element `column` of sixteen keys, from `position` on (a multiple of 16); for Q8 without its scale, for Q4 with it.
template <KvType kType>
HWY_INLINE Lanes16 LoadKeyColumn16(const std::byte* keys, std::size_t width, std::size_t position, std::size_t column,
                                   [[maybe_unused]] const float* scales, [[maybe_unused]] std::size_t capacity) {
  if constexpr (kType == KvType::kQ8) {
    const std::int8_t* from = reinterpret_cast<const std::int8_t*>(keys) + WordKeyStart(kType, width, position) +
                              column / 4 * 4 * kKvChunk + column % 4;
    alignas(64) float lanes[16];
    for (std::size_t i = 0; i < 16; ++i) lanes[i] = static_cast<float>(from[4 * i]);
    return Load16(lanes);
  } else if constexpr (kType == KvType::kQ4) {
    const std::byte* from = keys + WordKeyStart(kType, width, position) + column / 8 * 4 * kKvChunk + column % 4;
    const int shift = column % 8 < 4 ? 0 : 4;
    alignas(64) float lanes[16];
    for (std::size_t i = 0; i < 16; ++i) {
      lanes[i] = static_cast<float>((std::to_integer<int>(from[4 * i]) >> shift & 15) - 8);
    }
    return Mul16(Load16(lanes), Load16(scales + column / kKvBlock * capacity + position));
  } else {
    return LoadKv16<kType>(keys, KeyStart(width, position) + column * kKvChunk);
  }
}

// The keys of a span, which are values too.
struct KeySpan {
  const std::byte* data;
  const float* scales;  // integers: of the first block
  std::size_t width;
  std::size_t capacity;
};

// sums[r, column + c] = the sum over positions [begin, end) of weights[r, p] * keys[p, column + c] for kColumns columns of keys
// that are values too: one chain per position modulo 16, folded at the end. What is outside of the range is not read as
// values.
template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_INLINE void WeighKeyColumns(const KeySpan& keys, std::size_t column, const float* weights,
                                std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  Lanes16 sum[kColumns][kRows];
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) sum[c][r] = Set16(0.0f);
  }
  for (std::size_t tile = begin / 16; tile * 16 < end; ++tile) {
    const std::size_t from = std::max(begin, tile * 16) - tile * 16, to = std::min<std::size_t>(end - tile * 16, 16);
    const bool whole = to - from == 16;
    Lanes16 value[kColumns];
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) {
      value[c] = LoadKeyColumn16<kType>(keys.data, keys.width, tile * 16, column + c, keys.scales, keys.capacity);
      if (!whole) value[c] = KeepRange16(value[c], from, to, 0.0f);
    }
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      Lanes16 weight = Load16(weights + r * kAttentionScoreStride + tile * 16);
      if (!whole) weight = KeepRange16(weight, from, to, 0.0f);
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) sum[c][r] = MulAdd16(value[c], weight, sum[c][r]);
    }
  }
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) sums[r * sum_stride + column + c] = Sum16(sum[c][r]);
  }
}

template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_INLINE void WeighKeyRows(const KeySpan& keys, std::size_t value_dim, std::size_t column,
                             const float* weights, std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  for (; column + kColumns <= value_dim; column += kColumns) {
    WeighKeyColumns<kType, kColumns, kRows>(keys, column, weights, begin, end, sums, sum_stride);
  }
  if constexpr (kColumns > 1) {
    if (column < value_dim) {
      WeighKeyRows<kType, kColumns / 2, kRows>(keys, value_dim, column, weights, begin, end, sums, sum_stride);
    }
  }
}

// All columns, `rows` (1 .. kRows) queries that see the same positions.
template <KvType kType, std::size_t kRows>
HWY_INLINE void WeighKeys(std::size_t rows, const KeySpan& keys, std::size_t value_dim,
                          const float* weights, std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  if (rows == kRows) {
    WeighKeyRows<kType, ColumnsPerQueries(kRows), kRows>(keys, value_dim, 0, weights, begin, end, sums, sum_stride);
  } else if constexpr (kRows > 1) {
    WeighKeys<kType, kRows - 1>(rows, keys, value_dim, weights, begin, end, sums, sum_stride);
  }
}

// What each query of a tile sees of one span: positions [begin, end) relative to the span's first, never empty. Queries
// are in order of position, so neither begin nor end ever decreases.
struct Seen {
  std::uint16_t begin[kMaxAttentionRows];
  std::uint16_t end[kMaxAttentionRows];
};
static_assert(kKvSpan <= 65535);

// Weights as integers: the largest magnitude becomes this. A span of them times 8-bit values fits 32 bits, and they stay
// within 16 bits, as which processors multiply and add pairs. At 15 bits a weight is off by at most 1 / 65534 of the span's
// largest: with 256 positions that is a hundredth of what 8 bits cost the values.
inline constexpr float kMostWeight = 32767.0f;
static_assert(32767 * 128 * kKvSpan < (std::size_t{1} << 31));

// Replaces weights [first, last] (multiples of 16) of a span by 16-bit integers at the row's beginning, with zeros for the
// others of [begin, end). Returns what one of the integer's units is worth: NaN where a weight is NaN or infinite.
inline float QuantizeWeights(float* weights, std::size_t first, std::size_t last, std::size_t begin, std::size_t end) {
  Lanes16 most = Set16(0.0f), probe = Set16(0.0f);
  for (std::size_t at = first; at <= last; at += 16) {
    const Lanes16 weight = Load16(weights + at);
    most = Max16(most, Abs16(weight));
    probe = MulAdd16(weight, Set16(0.0f), probe);
  }
  const float magnitude = Largest16(most);
  // Below, the quotient could overflow.
  const bool tiny = !(magnitude > 1e-30f);
  const Lanes16 inverse = Set16(tiny ? 0.0f : kMostWeight / magnitude);
  std::byte* const to = reinterpret_cast<std::byte*>(weights);
  for (std::size_t at = first; at <= last; at += 16) {
    StoreIntegers16<std::int16_t>(MulAdd16(Load16(weights + at), inverse, Set16(12582912.0f)), to + at * 2);
  }
  if (begin < first) std::memset(to + begin * 2, 0, (first - begin) * 2);
  if (last + 16 < end) std::memset(to + (last + 16) * 2, 0, (end - last - 16) * 2);
  return (tiny ? 0.0f : magnitude / kMostWeight) + Sum16(probe);
}

// Sixteen columns of the values of two positions, as 16-bit pairs: vector `part` of them; `pair` is the first column's.
template <KvType kType>
HWY_INLINE Words LoadValuePairs(const std::int8_t* pair, std::size_t column, std::size_t part) {
  if constexpr (kType == KvType::kQ8) {
    return LoadBytePairsSigned(pair + column * 32 + part * kWordLanes * 2);
  } else {
    const auto* from = reinterpret_cast<const std::uint8_t*>(pair) + column / 2 * 32 + part * kWordLanes * 2;
    const Words both = LoadBytePairs(from);
    return SubtractPairs(hn::And(column % 2 == 0 ? both : hn::ShiftRight<4>(both), hn::Set(WordTag(), 0x000F000F)), 8);
  }
}

// sums[r, 16 columns...] = units[r] * the sum over positions [begin, end), both even, of weights[r, p] * values[p, ...].
// Integers: exact, whatever the order. What is not seen has a weight of zero.
//   weights  of 16 bits, in rows of kAttentionScoreStride floats;  units  one per row of sums, `sum_stride` apart
template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_NOINLINE void WeighWordColumns(const std::byte* values, std::size_t value_stride, std::size_t column, const float* weights,
                                 std::size_t begin, std::size_t end, const float* units, float* sums,
                                 std::size_t sum_stride) {
  const std::int8_t* const from = reinterpret_cast<const std::int8_t*>(values);
  const std::size_t first = column / 16, position_bytes = kType == KvType::kQ4 ? value_stride / 2 : value_stride;
#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t c = 0; c < kColumns; ++c) {
      std::int32_t sum[16] = {};
      for (std::size_t p = begin; p < end; p += 2) {
        std::int16_t pair[2];
        std::memcpy(pair, reinterpret_cast<const std::byte*>(weights + r * kAttentionScoreStride) + p * 2, sizeof(pair));
        for (std::size_t i = 0; i < 16; ++i) {
          if constexpr (kType == KvType::kQ8) {
            const std::int8_t* value = from + p * position_bytes + (first + c) * 32 + 2 * i;
            sum[i] += pair[0] * value[0] + pair[1] * value[1];
          } else {
            const std::int8_t* value = from + p * position_bytes + (first + c) / 2 * 32 + 2 * i;
            const int shift = (first + c) % 2 == 0 ? 0 : 4;
            sum[i] += pair[0] * ((value[0] >> shift & 15) - 8) + pair[1] * ((value[1] >> shift & 15) - 8);
          }
        }
      }
      Store16(Mul16(LoadI32x16(sum), Set16(units[r * sum_stride])), sums + r * sum_stride + column + c * 16);
    }
  }
#else
  constexpr std::size_t kParts = 16 / kWordLanes;
  constexpr std::size_t kVectors = kColumns * kParts;
  Words sum[kVectors][kRows];
  HWY_UNROLL(16)
  for (std::size_t v = 0; v < kVectors; ++v) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) sum[v][r] = hn::Zero(WordTag());
  }
  for (std::size_t p = begin; p < end; p += 2) {
    const std::int8_t* const pair = from + p * position_bytes;
    FetchAhead<kKvAhead, kColumns * 32 / (kType == KvType::kQ4 ? 2 : 1)>(pair + column * 2 / (kType == KvType::kQ4 ? 2 : 1));
    Words value[kVectors];
    HWY_UNROLL(16)
    for (std::size_t v = 0; v < kVectors; ++v) value[v] = LoadValuePairs<kType>(pair, first + v / kParts, v % kParts);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Words weight = BroadcastWord(reinterpret_cast<const std::byte*>(weights + r * kAttentionScoreStride) + p * 2);
      HWY_UNROLL(16)
      for (std::size_t v = 0; v < kVectors; ++v) {
        sum[v][r] = AccumulatePairs(sum[v][r], value[v], weight);
        Pin(sum[v][r]);
      }
    }
  }
  HWY_UNROLL(16)
  for (std::size_t r = 0; r < kRows; ++r) {
    const Floats unit = hn::Set(FloatTag(), units[r * sum_stride]);
    HWY_UNROLL(16)
    for (std::size_t v = 0; v < kVectors; ++v) {
      hn::StoreU(hn::Mul(hn::ConvertTo(FloatTag(), sum[v][r]), unit), FloatTag(),
                 sums + r * sum_stride + column + v * kWordLanes);
    }
  }
#endif
}

template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_INLINE void WeighWordRows(const std::byte* values, std::size_t value_dim, std::size_t column, const float* weights,
                              std::size_t begin, std::size_t end, const float* units, float* sums, std::size_t sum_stride) {
  const std::size_t columns = RoundUp(value_dim, 16);
  for (; column + kColumns * 16 <= columns; column += kColumns * 16) {
    WeighWordColumns<kType, kColumns, kRows>(values, KvValueStride(kType, value_dim), column, weights, begin, end, units, sums,
                                             sum_stride);
  }
  if constexpr (kColumns > 1) {
    if (column < columns) {
      WeighWordRows<kType, kColumns / 2, kRows>(values, value_dim, column, weights, begin, end, units, sums, sum_stride);
    }
  }
}

// All columns, `rows` (1 .. kRows) queries.
template <KvType kType, std::size_t kRows>
HWY_INLINE void WeighWords(std::size_t rows, const std::byte* values, std::size_t value_dim, const float* weights,
                           std::size_t begin, std::size_t end, const float* units, float* sums, std::size_t sum_stride) {
  if (rows == kRows) {
    WeighWordRows<kType, ColumnsPerQueries(kRows), kRows>(values, value_dim, 0, weights, begin, end, units, sums, sum_stride);
  } else if constexpr (kRows > 1) {
    WeighWords<kType, kRows - 1>(rows, values, value_dim, weights, begin, end, units, sums, sum_stride);
  }
}

// Turns the scores of one query, positions [begin, end) of a span, into weights e^(score - largest) and fills in the
// partial result's largest and sum. For integers the weights take in the scales of the values, and are zero for what is not
// seen in the first and the last sixteen.
template <KvType kType>
HWY_INLINE void SoftmaxSpan(float* scores, std::size_t begin, std::size_t end, float softcap, const float* value_scales,
                            float* partial) {
  const float lowest = -std::numeric_limits<float>::infinity();
  if (softcap != 0.0f) SoftCap(softcap, end - begin, scores + begin);
  // Scores of positions that are not seen, in the first and the last sixteen, become the lowest: their weight of 1e-38 at
  // most is lost in the sum, which is at least 1.
  const std::size_t first = begin / 16 * 16, last = (end - 1) / 16 * 16;
  if (begin != first) {
    Store16(KeepRange16(Load16(scores + first), begin - first, 16, lowest), scores + first);
  }
  if (end != last + 16) Store16(KeepRange16(Load16(scores + last), 0, end - last, lowest), scores + last);
  Lanes16 most = Load16(scores + first), other = Load16(scores + last);
  std::size_t at = first;
  for (; at + 16 < last; at += 32) {
    most = Max16(most, Load16(scores + at));
    other = Max16(other, Load16(scores + at + 16));
  }
  if (at < last) most = Max16(most, Load16(scores + at));
  const float largest = Largest16(Max16(most, other));
  const Lanes16 offset = Set16(largest);
  Lanes16 sum = Set16(0.0f);
  for (at = first; at <= last; at += 16) {
    const Lanes16 weight = ExpNegative16(Sub16(Load16(scores + at), offset));
    sum = Add16(sum, weight);
    if (IsInteger(kType) && value_scales != nullptr) {
      Store16(Mul16(weight, Load16(value_scales + at)), scores + at);
    } else {
      Store16(weight, scores + at);
    }
  }
  if constexpr (IsInteger(kType)) {
    // Scales of positions that are not seen may be NaN.
    if (begin != first) Store16(KeepRange16(Load16(scores + first), begin - first, 16, 0.0f), scores + first);
    if (end != last + 16) Store16(KeepRange16(Load16(scores + last), 0, end - last, 0.0f), scores + last);
  }
  Store16(Set16(0.0f), partial);
  partial[0] = largest;
  partial[1] = Sum16(sum);
}

// Partial results of `rows` queries over one span.
template <KvType kType, Extent HeadDim, Extent ValueDim>
HWY_NOINLINE void AttendRows(const KvHead<HeadDim, ValueDim>& kv, const Queries& queries, const Seen& seen,
                             std::size_t rows, std::size_t span_begin, float scale, float softcap, float* scores,
                             float* partials) {
  const std::size_t value_dim = kv.value_dim;
  const std::size_t partial_stride = PartialStride(value_dim);
  const std::size_t value_stride = KvValueStride(kType, value_dim);
  const std::size_t blocks = DivideUp(rows, kMaxTileQueries);
  const std::size_t chunk_begin = seen.begin[0] / kKvChunk * kKvChunk;
  const std::size_t chunk_end = seen.end[rows - 1];
  for (std::size_t chunk = chunk_begin; chunk < chunk_end; chunk += kKvChunk) {
    for (std::size_t left = blocks, row = 0; left != 0; --left) {
      const std::size_t count = (rows - row) / left;
      if (seen.begin[row] < chunk + kKvChunk && seen.end[row + count - 1] > chunk) {
        ScoreChunk<kType, kMaxTileQueries>(count, kv, queries.From(row), span_begin + chunk, scale,
                                           scores + row * kAttentionScoreStride + chunk);
      }
      row += count;
    }
  }
  const bool shared = kMayShareValues<ValueDim> && kv.values == nullptr;
  const std::byte* values = shared ? nullptr : kv.values + span_begin * KvValueRowBytes(kType, value_dim);
  const float* value_scales = nullptr;
  if constexpr (IsInteger(kType)) {
    value_scales = (shared ? KvScales<kType>(kv.keys, kv.head_dim, kv.capacity) : KvScales<kType>(kv.values, value_dim, kv.capacity)) +
                   span_begin;
  }
  for (std::size_t row = 0; row < rows; ++row) {
    float* partial = partials + row * partial_stride;
    float* weights = scores + row * kAttentionScoreStride;
    // Keys of Q4 have more than one scale: where they are values, those are applied to them and not to the weights.
    SoftmaxSpan<kType>(weights, seen.begin[row], seen.end[row], softcap,
                       shared && kType == KvType::kQ4 ? nullptr : value_scales, partial);
    if (shared) {
      for (std::size_t i = 0; i < partial_stride - 16; i += 16) Store16(Set16(0.0f), partial + 16 + i);
    } else if constexpr (!IsInteger(kType)) {
      if (value_stride == 8) {
        WeighNarrow<kType, 2>(values, weights, seen.begin[row], seen.end[row], partial + 16);
      } else if (value_stride == 16) {
        WeighNarrow<kType, 1>(values, weights, seen.begin[row], seen.end[row], partial + 16);
      } else {
        for (std::size_t i = 0; i < value_stride; i += 16) Store16(Set16(0.0f), partial + 16 + i);
      }
    }
  }
  if constexpr (kMayShareValues<ValueDim>) {
    if (shared) {
      const KeySpan keys{kv.keys + span_begin * KvKeyRows(kType, kv.head_dim) * KvKeyLaneBytes(kType),
                         IsInteger(kType) ? KvScales<kType>(kv.keys, kv.head_dim, kv.capacity) + span_begin : nullptr,
                         kv.head_dim, kv.capacity};
      for (std::size_t left = blocks, row = 0; left != 0; --left) {
        const std::size_t count = (rows - row) / left, last = row + count - 1;
        const bool together = seen.begin[row] == seen.begin[last] && seen.end[row] == seen.end[last];
        for (std::size_t at = row; at < row + count; at += together ? count : 1) {
          WeighKeys<kType, kMaxTileQueries>(together ? count : 1, keys, value_dim,
                                            scores + at * kAttentionScoreStride, seen.begin[at], seen.end[at],
                                            partials + at * partial_stride + 16, partial_stride);
        }
        row += count;
      }
      return;
    }
  }
  if constexpr (IsInteger(kType)) {
    for (std::size_t left = blocks, row = 0; left != 0; --left) {
      const std::size_t count = (rows - row) / left;
      const std::size_t begin = seen.begin[row] / 16 * 16, end = RoundUp(seen.end[row + count - 1], 16);
      for (std::size_t r = row; r < row + count; ++r) {
        // The largest and the sum are the first two numbers of a partial result.
        partials[r * partial_stride + 2] =
            QuantizeWeights(scores + r * kAttentionScoreStride, seen.begin[r] / 16 * 16, (seen.end[r] - 1) / 16 * 16, begin, end);
      }
      float* const block = partials + row * partial_stride;
      WeighWords<kType, kMaxTileQueries>(count, values, value_dim, scores + row * kAttentionScoreStride, begin, end,
                                         block + 2, block + 16, partial_stride);
      row += count;
    }
  } else {
    if (value_stride <= 16) return;
    for (std::size_t chunk = chunk_begin; chunk < chunk_end; chunk += kKvChunk) {
      for (std::size_t left = blocks, row = 0; left != 0; --left) {
        const std::size_t count = (rows - row) / left;
        const auto weigh = [&](std::size_t first, std::size_t n, std::size_t begin, std::size_t end) HWY_ATTR {
          if (begin < end) {
            Weigh<kType, kMaxTileQueries>(n, values, value_stride, scores + first * kAttentionScoreStride, begin, end,
                                          partials + first * partial_stride + 16, partial_stride);
          }
        };
        const auto begin_of = [&](std::size_t r) { return std::clamp<std::size_t>(seen.begin[r], chunk, chunk + kKvChunk); };
        const auto end_of = [&](std::size_t r) { return std::clamp<std::size_t>(seen.end[r], chunk, chunk + kKvChunk); };
        // Positions that all queries of the block see, and for each query alone those before and after.
        const std::size_t common_begin = begin_of(row + count - 1), common_end = end_of(row);
        if (begin_of(row) == common_begin && end_of(row + count - 1) == common_end) {
          weigh(row, count, common_begin, common_end);
        } else if (common_begin < common_end) {
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
}

// Adds the next span's partial result to that of all spans before it.
inline void MergePartial(const float* next, std::size_t partial_stride, float* merged) {
  const float largest = std::max(merged[0], next[0]);
  alignas(64) float factors[16] = {merged[0] - largest, next[0] - largest};
  Store16(ExpNegative16(Load16(factors)), factors);
  const Lanes16 before = Set16(factors[0]), after = Set16(factors[1]);
  // The first sixteen hold the sum, which merges like the values, and the largest score, which does not.
  for (std::size_t i = 0; i < partial_stride; i += 16) {
    Store16(MulAdd16(Load16(merged + i), before, Mul16(Load16(next + i), after)), merged + i);
  }
  merged[0] = largest;
}

// out [value_dim] = the weighted values over the sum of weights; a sink (nullptr: none) is one more score in that sum.
inline void FinishPartial(const float* partial, std::size_t value_dim, const float* sink, float* out) {
  float scale = 1.0f / partial[1];
  if (sink != nullptr) {
    const float largest = std::max(partial[0], *sink);
    alignas(64) float factors[16] = {partial[0] - largest, *sink - largest};
    Store16(ExpNegative16(Load16(factors)), factors);
    const Lanes16 before = Set16(factors[0]);
    Store16(Div16(before, MulAdd16(Set16(partial[1]), before, Set16(factors[1]))), factors);
    scale = factors[0];
  }
  const Lanes16 factor = Set16(scale);
  ForEach16(value_dim, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(Load16(partial + 16 + i), factor), out + i, count);
  });
}

// The parts of the working memory of one call.
struct AttentionScratch {
  AttentionScratch(float* memory, std::size_t head_dim, std::size_t value_dim) {
    const std::size_t rows = AttentionRows(head_dim, value_dim);
    partials = memory;
    merged = partials + rows * PartialStride(value_dim);
    scores = merged + rows * PartialStride(value_dim);
    queries = scores + rows * kAttentionScoreStride;
    scales = queries + rows * RoundUp(head_dim, 16);
    sums = reinterpret_cast<std::int32_t*>(scales + rows);
  }
  float* partials;
  float* merged;
  float* scores;
  float* queries;
  float* scales;
  std::int32_t* sums;
};

// Makes the form of queries that is multiplied with keys: `rows` of the token-major list of (token, head), from head `head`
// of token 0 on; token t at queries + t * stride.
template <KvType kType>
HWY_INLINE Queries PrepareQueries(const float* queries, std::size_t stride, std::size_t group, std::size_t head_dim,
                                  std::size_t head, std::size_t rows, const AttentionScratch& scratch) {
  Queries prepared;
  std::size_t token = 0;
  if constexpr (!IsInteger(kType)) {
    // Heads of one token lie side by side already.
    if (head + rows <= group) {
      prepared.values = queries + head * head_dim;
      prepared.stride = head_dim;
      return prepared;
    }
    prepared.values = scratch.queries;
  } else {
    prepared.bytes = reinterpret_cast<const std::int8_t*>(scratch.queries);
    prepared.scales = scratch.scales;
    prepared.sums = scratch.sums;
    prepared.sum_stride = KvKeyScales(kType, head_dim);
  }
  prepared.stride = RoundUp(head_dim, 16);
  for (std::size_t row = 0; row < rows; ++row) {
    const float* from = queries + token * stride + head * head_dim;
    if constexpr (!IsInteger(kType)) {
      std::copy_n(from, head_dim, scratch.queries + row * prepared.stride);
    } else {
      std::int8_t* bytes = reinterpret_cast<std::int8_t*>(scratch.queries) + row * prepared.stride;
      scratch.scales[row] = QuantizeRow(from, head_dim, bytes);
      std::int32_t* sums = scratch.sums + row * prepared.sum_stride;
      for (std::size_t begin = 0; begin < head_dim; begin += kType == KvType::kQ4 ? kKvBlock : head_dim) {
        const std::size_t end = kType == KvType::kQ4 ? std::min(head_dim, begin + kKvBlock) : head_dim;
        std::int32_t sum = 0;
        for (std::size_t i = begin; i < end; ++i) sum += bytes[i];
        *sums++ = sum;
      }
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
//   keys, values  one layer and head's cache (KvKeyBytes, KvValueBytes); the tokens' own keys and values are stored already. Where
//                 value_dim is a DynamicExtent, values may be nullptr: they are the first elements of the keys
//   queries       head h of token t at queries + t * query_stride + h * head_dim, rotated, not scaled
//   first_position  absolute position of token 0: token t is at first_position + t
//   out           head h of token t goes to out + t * out_stride + h * value_dim
//   scratch       AttentionScratchFloats(head_dim, value_dim) floats at a multiple of 64 bytes, for this call alone
// Any split of tokens over calls gives the same bits, and so does AttendSpans with MergeSpans.
template <KvType kType, Extent HeadDim, Extent ValueDim>
void AttendTokens(const AttentionShape& shape, const std::byte* keys, const std::byte* values, HeadDim head_dim,
                  ValueDim value_dim, const float* queries, std::size_t query_stride, std::size_t first_position, std::size_t token_begin,
                  std::size_t token_end, float* out, std::size_t out_stride, float* scratch) {
  const detail::KvHead<HeadDim, ValueDim> kv{keys, values, head_dim, value_dim, shape.capacity};
  const detail::AttentionScratch memory(scratch, head_dim, value_dim);
  const std::size_t partial_stride = PartialStride(value_dim);
  const std::size_t row_end = token_end * shape.group;
  std::size_t token = token_begin, head = 0;  // of the tile's first query
  for (std::size_t row = token_begin * shape.group; row < row_end;) {
    const std::size_t rows = std::min(AttentionRows(head_dim, value_dim), row_end - row);
    const detail::Queries prepared =
        detail::PrepareQueries<kType>(queries + token * query_stride, query_stride, shape.group, head_dim, head, rows, memory);
    const std::size_t tile_first = shape.First(first_position + token);
    std::size_t tile_end = 0;
    // GCC does not see that `rows` is never 0.
    std::size_t first[kMaxAttentionRows] = {}, end[kMaxAttentionRows] = {};
    float* to[kMaxAttentionRows];
    const float* sinks[kMaxAttentionRows];
    for (std::size_t r = 0; r < rows; ++r) {
      end[r] = tile_end = shape.End(first_position + token);
      first[r] = shape.First(first_position + token);
      to[r] = out + token * out_stride + head * value_dim;
      sinks[r] = shape.sinks == nullptr ? nullptr : shape.sinks + head;
      if (++head == shape.group) {
        head = 0;
        ++token;
      }
    }
    for (std::size_t span = tile_first / kKvSpan * kKvSpan; span < tile_end; span += kKvSpan) {
      // Queries are in order of position: those that see something of the span are neighbours.
      std::size_t begin = 0, stop = rows;
      while (end[begin] <= span) ++begin;
      while (stop > begin && first[stop - 1] >= span + kKvSpan) --stop;
      if (begin == stop) continue;
      detail::Seen seen;
      for (std::size_t r = begin; r < stop; ++r) {
        seen.begin[r - begin] = static_cast<std::uint16_t>(first[r] > span ? first[r] - span : 0);
        seen.end[r - begin] = static_cast<std::uint16_t>(std::min(end[r] - span, kKvSpan));
      }
      const bool fresh = first[begin] >= span;  // for the first query, and so for all
      detail::AttendRows<kType>(kv, prepared.From(begin), seen, stop - begin, span, shape.scale, shape.softcap, memory.scores,
                                fresh ? memory.merged + begin * partial_stride : memory.partials);
      if (fresh) continue;
      for (std::size_t r = begin; r < stop; ++r) {
        const float* partial = memory.partials + (r - begin) * partial_stride;
        float* merged = memory.merged + r * partial_stride;
        if (first[r] >= span) {
          std::copy_n(partial, partial_stride, merged);
        } else {
          detail::MergePartial(partial, partial_stride, merged);
        }
      }
    }
    for (std::size_t r = 0; r < rows; ++r) {
      detail::FinishPartial(memory.merged + r * partial_stride, value_dim, sinks[r], to[r]);
    }
    row += rows;
  }
}

// One token's part of AttendTokens over some spans, for spreading a long context over threads: `spans` is a part of
// AttentionSpans(shape, position). `query` is [group, head_dim]; `partials` [spans, group, PartialStride(value_dim)] is
// written.
template <KvType kType, Extent HeadDim, Extent ValueDim>
void AttendSpans(const AttentionShape& shape, const std::byte* keys, const std::byte* values, HeadDim head_dim,
                 ValueDim value_dim, const float* query, std::size_t position, SpanRange spans, float* partials,
                 float* scratch) {
  const detail::KvHead<HeadDim, ValueDim> kv{keys, values, head_dim, value_dim, shape.capacity};
  const detail::AttentionScratch memory(scratch, head_dim, value_dim);
  const std::size_t first = shape.First(position), end = shape.End(position);
  for (std::size_t row = 0; row < shape.group; row += AttentionRows(head_dim, value_dim)) {
    const std::size_t rows = std::min(AttentionRows(head_dim, value_dim), shape.group - row);
    const detail::Queries prepared = detail::PrepareQueries<kType>(query, 0, shape.group, head_dim, row, rows, memory);
    for (std::size_t span = spans.begin; span < spans.end; ++span) {
      const std::size_t span_begin = span * kKvSpan;
      detail::Seen seen;
      std::fill_n(seen.begin, kMaxAttentionRows, static_cast<std::uint16_t>(first > span_begin ? first - span_begin : 0));
      std::fill_n(seen.end, kMaxAttentionRows, static_cast<std::uint16_t>(std::min(end - span_begin, kKvSpan)));
      detail::AttendRows<kType>(kv, prepared, seen, rows, span_begin, shape.scale, shape.softcap, memory.scores,
                                partials + ((span - spans.begin) * shape.group + row) * PartialStride(value_dim));
    }
  }
}

// Merges the partial results [spans, group, PartialStride(value_dim)] of all spans of a token, in order, into
// out [group, value_dim]. Overwrites the first span's partial results.
inline void MergeSpans(const AttentionShape& shape, std::size_t value_dim, std::size_t spans, float* partials, float* out) {
  const std::size_t stride = PartialStride(value_dim);
  for (std::size_t head = 0; head < shape.group; ++head) {
    float* merged = partials + head * stride;
    for (std::size_t span = 1; span < spans; ++span) {
      detail::MergePartial(partials + (span * shape.group + head) * stride, stride, merged);
    }
    detail::FinishPartial(merged, value_dim, shape.sinks == nullptr ? nullptr : shape.sinks + head, out + head * value_dim);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

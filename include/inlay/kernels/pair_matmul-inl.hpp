// Matrix products with F16 and BF16 weights by instructions that multiply pairs of 16-bit numbers and add both products to
// a 32-bit sum: twice as many products as float32 multiply-adds, where the processor has them.
//   BF16  pairs of BF16 (AVX512-BF16): activations are rounded to BF16 as well, weights lose nothing. With Intel's tile
//         multiplier many tokens go through that (bf16_amx-inl.hpp), and few through float32 multiply-adds in its order.
//   F16   pairs of int16 (VNNI): 64 columns of a row become integers with a scale of their own, as do 64 activations of a
//         token (kInt16Norm). That rounds less than F16 activations would.
//
// Apart from the float32 products because of what happens to weights on their way: BF16 pairs are made in registers, once for
// some tokens; F16 becomes integers in a panel in the first-level cache, once for all, except where tokens are few. An output
// is the sum over groups of 256 (BF16) or 64 (F16) columns in order, whatever the tiling: any split of tokens and rows gives
// the same bits.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/highway.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/kernels/packed_layout.hpp"

#if defined(INLAY_KERNELS_PAIR_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_PAIR_MATMUL_INL_HPP_
#undef INLAY_KERNELS_PAIR_MATMUL_INL_HPP_
#else
#define INLAY_KERNELS_PAIR_MATMUL_INL_HPP_
#endif

#include "inlay/kernels/bf16_amx-inl.hpp"
#include "inlay/kernels/float_lanes-inl.hpp"
#include "inlay/kernels/results-inl.hpp"
#include "inlay/kernels/simd-inl.hpp"

namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// Whether the target multiplies pairs of this type.
template <WeightType kType>
inline constexpr bool kHasPairs = (INLAY_BF16_PAIRS && kType == WeightType::kBF16) ||
                                  (INLAY_INT16_PAIRS && kType == WeightType::kF16);

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay

#if INLAY_INT16_PAIRS
HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace detail {

// The register tile of a panel: two vectors of rows share each broadcast of activations. Eight tokens where there are 32
// registers: 256 and 512 are multiples of it. (F16 prompts of 256 on Zen 5 with six: 0.92 to 0.97 of the speed.)
inline constexpr std::size_t kPairVectors = 2;
inline constexpr std::size_t kPairTokens = kWordLanes == 16 ? 8 : 4;
inline constexpr std::size_t kPairTiles = kPairVectors * kWordLanes / kRowTile;
inline constexpr std::size_t kPairStride = kPairTiles * kRowTile;
// Tokens that share one unpacking to memory, which costs as much as some ten of them. Their float sums wait in the caller's
// buffer.
inline constexpr std::size_t kPairBlock = 32 * kPairTokens;
// The most tokens that share weights in registers, in two vectors of rows: so many sums have to be under way to keep two
// multipliers busy, of which each takes 6 cycles (BF16 on Zen 5: 40 to 47 multiply-adds a cycle with 6, 50 to 54 with 8). Where
// tokens are no more, F16 goes that way too. In the order of tiles, each sum of BF16 is two: half as many tokens.
template <WeightType kType>
inline constexpr std::size_t kPairDirect = kType == WeightType::kF16 || INLAY_AMX_BF16 ? 4 : 8;

// Columns that are added up before the sum of a row goes on in float32.
template <WeightType kType>
inline constexpr std::size_t kPairColumns = kType == WeightType::kF16 ? kInt16Block : INLAY_AMX_BF16 ? 32 : kColumnGroup;

// 256 columns of 16 rows. Word i: columns 2i and 2i + 1 of each row.
struct alignas(64) Int16Panel {
  std::uint8_t words[kColumnGroup / 2 * kWordBytes];
  float scales[kColumnGroup / kInt16Block * kRowTile];  // of every 64 columns
};

// The activations of a token tile.
struct PairTokens {
  const std::uint16_t* values;
  const float* scales;  // nullptr for BF16
  std::size_t value_stride;
  std::size_t scale_stride;

  PairTokens From(std::size_t token) const {
    return {values + token * value_stride, scales + token * scale_stride, value_stride, scale_stride};
  }
  PairTokens FromColumn(std::size_t col) const {
    return {values + col, scales == nullptr ? nullptr : scales + col / kInt16Block, value_stride, scale_stride};
  }
};

// Makes pairs of columns of one vector of rows, and adds their products to a sum.
template <WeightType kType>
struct Pairs;

#if INLAY_AMX_BF16
// The tile multiplier adds up the products of even and those of odd columns apart, in steps of 32 columns.
template <>
struct Pairs<WeightType::kBF16> {
  struct Weights {
    Floats even, odd;
  };
  using Sum = Weights;

  HWY_INLINE void Begin(const std::uint16_t*, float*) {}

  template <bool kLast>
  HWY_INLINE Weights Load(const std::uint16_t* at) const {
    return {ToFloat(WidenBF16<false>(LoadColumnPair<kLast>(at))), ToFloat(WidenBF16<true>(LoadColumnPair<kLast>(at)))};
  }

  static HWY_INLINE Sum Zero() { return {hn::Zero(FloatTag()), hn::Zero(FloatTag())}; }
  static HWY_INLINE Sum Accumulate(const Sum& sum, const Weights& weights, Words activations) {
    const WordTag d;
    return {hn::MulAdd(weights.even, ToFloat(hn::ShiftLeft<16>(activations)), sum.even),
            hn::MulAdd(weights.odd, ToFloat(hn::And(activations, hn::Set(d, static_cast<std::int32_t>(0xFFFF0000u)))), sum.odd)};
  }
  static HWY_INLINE Floats Total(const Sum& sum) { return hn::Add(sum.even, sum.odd); }

 private:
  static HWY_INLINE Floats ToFloat(Words v) { return hn::BitCast(FloatTag(), v); }
};
#elif INLAY_BF16_PAIRS
template <>
struct Pairs<WeightType::kBF16> {
  using Weights = Words;
  using Sum = Words;

  HWY_INLINE void Begin(const std::uint16_t*, float*) {}

  // Columns `at` and at + 1, or `at` alone, of 16 rows side by side.
  template <bool kLast>
  HWY_INLINE Weights Load(const std::uint16_t* at) const {
    return InterleaveColumnPair(LoadColumnPair<kLast>(at));
  }

  static HWY_INLINE Sum Zero() { return hn::Zero(WordTag()); }
  static HWY_INLINE Sum Accumulate(Sum sum, Weights weights, Words activations) {
#if defined(__clang__)
    Pin(activations);  // Clang 16 runs out of stack otherwise: it turns a broadcast that is a vector of BF16 around for ever
#endif
    Words result{_mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum.raw), (__m512bh)weights.raw,
                                                      (__m512bh)activations.raw))};
    Pin(result);
    return result;
  }
  static HWY_INLINE Floats Total(Sum sum) { return hn::BitCast(FloatTag(), sum); }
};
#endif

template <>
struct Pairs<WeightType::kF16> {
  using Weights = Words;
  using Sum = Words;

  Floats inverse;

  // Before the first columns of a block. Writes the scales of the rows; an infinite one makes products that are not finite.
  HWY_INLINE void Begin(const std::uint16_t* HWY_RESTRICT bf16, float* HWY_RESTRICT scale) {
    const FloatTag df;
    const Floats value = LoadBF16(df, bf16);
    hn::Store(value, df, scale);
    inverse = hn::Div(hn::Set(df, 1.0f), value);
  }

  template <bool kLast>
  HWY_INLINE Words Load(const std::uint16_t* at) const {
    const hn::Repartition<std::int16_t, WordTag> d16;
    const Words low = Round(at);
    const Words high = kLast ? hn::Zero(WordTag()) : hn::ShiftLeft<16>(Round(at + kRowTile));
    return hn::BitCast(WordTag(), hn::OddEven(hn::BitCast(d16, high), hn::BitCast(d16, low)));
  }

  static HWY_INLINE Sum Zero() { return hn::Zero(WordTag()); }
  static HWY_INLINE Sum Accumulate(Sum sum, Weights weights, Words activations) {
    Words result = AccumulatePairs(sum, weights, activations);
    Pin(result);  // GCC copies every sum around otherwise
    return result;
  }
  static HWY_INLINE Floats Total(Sum sum) { return hn::ConvertTo(FloatTag(), sum); }

 private:
  // Rounded to nearest even, in the lower 16 bits: next to 1.5 * 2^23 the unit is 1.
  HWY_INLINE Words Round(const std::uint16_t* at) const {
    const FloatTag df;
    return hn::BitCast(WordTag(), hn::MulAdd(LoadHalves(df, at), inverse, hn::Set(df, 12582912.0f)));
  }
};

template <WeightType kType, std::size_t kVectors, std::size_t kTokens>
using PairSums = typename Pairs<kType>::Sum[kVectors][kTokens];
template <std::size_t kVectors, std::size_t kTokens>
using PairTotals = Floats[kVectors][kTokens];

template <WeightType kType, std::size_t kVectors, std::size_t kTokens>
HWY_INLINE void SetZero(PairSums<kType, kVectors, kTokens>& sums) {
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kVectors; ++v) {
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) sums[v][t] = Pairs<kType>::Zero();
  }
}

// sums += one pair of columns of kVectors vectors of rows times kTokens tokens. `values` is the first token's.
template <WeightType kType, std::size_t kVectors, std::size_t kTokens>
HWY_INLINE void AccumulatePair(const typename Pairs<kType>::Weights (&weights)[kVectors], const std::uint16_t* HWY_RESTRICT values,
                               std::size_t stride, PairSums<kType, kVectors, kTokens>& sums) {
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    const Words activations = BroadcastWord(values + t * stride);
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kVectors; ++v) sums[v][t] = Pairs<kType>::Accumulate(sums[v][t], weights[v], activations);
  }
}

// totals += sums, times the scales of the rows of each vector and of the tokens.
template <WeightType kType, std::size_t kVectors, std::size_t kTokens>
HWY_INLINE void AddPairSums(const PairSums<kType, kVectors, kTokens>& sums, const float* const (&scales)[kVectors],
                            const PairTokens& x, PairTotals<kVectors, kTokens>& totals) {
  const FloatTag df;
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kVectors; ++v) {
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) {
      if constexpr (kType == WeightType::kF16) {
        const Floats value = hn::Mul(Pairs<kType>::Total(sums[v][t]), hn::Load(df, scales[v]));
        totals[v][t] = hn::MulAdd(value, hn::Set(df, x.scales[t * x.scale_stride]), totals[v][t]);
      } else {
        totals[v][t] = hn::Add(totals[v][t], Pairs<kType>::Total(sums[v][t]));
      }
    }
  }
}

// sums += columns `col` and col + 1 (kLast: `col` alone) of rows that are not unpacked.
template <WeightType kType, bool kLast, std::size_t kVectors, std::size_t kTokens>
HWY_INLINE void MultiplyPair(const std::uint16_t* const (&rows)[kVectors], std::size_t col, const Pairs<kType> (&pairs)[kVectors],
                             const PairTokens& x, PairSums<kType, kVectors, kTokens>& sums) {
  typename Pairs<kType>::Weights weights[kVectors];
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kVectors; ++v) {
    FetchAhead<kWeightsAhead, kWordLanes * 4>(rows[v] + col * kRowTile);
    weights[v] = pairs[v].template Load<kLast>(rows[v] + col * kRowTile);
  }
  AccumulatePair<kType, kVectors, kTokens>(weights, x.values + col, x.value_stride, sums);
}

// results[t * kVectors * kWordLanes + r] = all columns of the rows of kVectors vectors times kTokens tokens. `tiles` row
// tiles exist from `packed` on; where there are more vectors, they compute the last one again.
template <WeightType kType, std::size_t kVectors, std::size_t kTokens>
HWY_NOINLINE void MultiplyPairRows(const std::byte* packed, std::size_t tiles, std::size_t cols, PairTokens x,
                                      float* HWY_RESTRICT results) {
  constexpr std::size_t kColumns = kPairColumns<kType>;
  const FloatTag df;
  const std::uint16_t* rows[kVectors];
  const std::uint16_t* headers[kVectors];
  alignas(64) float scales[kVectors][kWordLanes];
  const float* scale_rows[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) {
    const std::size_t tile = std::min(v * kWordLanes / kRowTile, tiles - 1);
    headers[v] = reinterpret_cast<const std::uint16_t*>(packed + tile * PackedTileBytes(kType, cols)) + v * kWordLanes % kRowTile;
    rows[v] = headers[v] + PackedColumnsAt(kType, cols) / sizeof(std::uint16_t);
    scale_rows[v] = scales[v];
  }
  PairTotals<kVectors, kTokens> totals;
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kVectors; ++v) {
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) totals[v][t] = hn::Zero(df);
  }
  for (std::size_t first = 0; first < cols; first += kColumns) {
    const std::size_t end = std::min(cols, first + kColumns);
    Pairs<kType> pairs[kVectors];
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kVectors; ++v) pairs[v].Begin(headers[v] + first / kColumns * kRowTile, scales[v]);
    PairSums<kType, kVectors, kTokens> sums;
    SetZero<kType, kVectors, kTokens>(sums);
    std::size_t col = first;
    for (; col + 2 <= end; col += 2) MultiplyPair<kType, false, kVectors, kTokens>(rows, col, pairs, x, sums);
    if (col < end) MultiplyPair<kType, true, kVectors, kTokens>(rows, col, pairs, x, sums);
    AddPairSums<kType, kVectors, kTokens>(sums, scale_rows, x.FromColumn(first), totals);
  }
  for (std::size_t v = 0; v < kVectors; ++v) {
    for (std::size_t t = 0; t < kTokens; ++t) hn::Store(totals[v][t], df, results + (t * kVectors + v) * kWordLanes);
  }
}

// Columns [begin, end) of the row tile at `tile`, at most as many as a panel has.
HWY_NOINLINE inline void UnpackInt16(const std::byte* tile, std::size_t cols, std::size_t begin, std::size_t end,
                                     Int16Panel& panel) {
  for (std::size_t first = begin; first < end; first += kInt16Block) {
    const std::size_t count = std::min(kInt16Block, end - first);
    for (std::size_t lane = 0; lane < kRowTile; lane += kWordLanes) {
      const std::uint16_t* header = reinterpret_cast<const std::uint16_t*>(tile) + lane;
      const std::uint16_t* from = header + PackedColumnsAt(WeightType::kF16, cols) / sizeof(std::uint16_t) + first * kRowTile;
      std::uint8_t* to = panel.words + (first - begin) / 2 * kWordBytes + lane * 4;
      Pairs<WeightType::kF16> pairs;
      pairs.Begin(header + first / kInt16Block * kRowTile, panel.scales + (first - begin) / kInt16Block * kRowTile + lane);
      const std::uint16_t* const last = from + count / 2 * 2 * kRowTile;
      for (; from != last; from += 2 * kRowTile, to += kWordBytes) StoreWords(pairs.Load<false>(from), to);
      if (count % 2 != 0) StoreWords(pairs.Load<true>(from), to);
    }
  }
}

// results[t * kPairStride + r] += `columns` columns of the panels times kTokens tokens.
template <std::size_t kTokens>
HWY_NOINLINE void MultiplyInt16Tile(const Int16Panel* HWY_RESTRICT panels, std::size_t columns, PairTokens x,
                                    float* HWY_RESTRICT results) {
  constexpr std::size_t kWords = kInt16Block / 2;
  const FloatTag df;
  const std::size_t count = DivideUp(columns, 2);
  for (std::size_t lane = 0; lane < kPairStride; lane += kPairVectors * kWordLanes) {
    const std::uint8_t* words[kPairVectors];
    const float* scales[kPairVectors];
    for (std::size_t v = 0; v < kPairVectors; ++v) {
      const std::size_t row = lane + v * kWordLanes;
      words[v] = panels[row / kRowTile].words + row % kRowTile * 4;
      scales[v] = panels[row / kRowTile].scales + row % kRowTile;
    }
    PairTotals<kPairVectors, kTokens> totals;
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPairVectors; ++v) {
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kTokens; ++t) totals[v][t] = hn::Load(df, results + t * kPairStride + lane + v * kWordLanes);
    }
    for (std::size_t first = 0; first < count; first += kWords) {
      PairSums<WeightType::kF16, kPairVectors, kTokens> sums;
      SetZero<WeightType::kF16, kPairVectors, kTokens>(sums);
      const std::size_t end = std::min(first + kWords, count);
      for (std::size_t i = first; i < end; ++i) {
        Words weights[kPairVectors];
        HWY_UNROLL(8)
        for (std::size_t v = 0; v < kPairVectors; ++v) weights[v] = LoadAlignedWords(words[v] + i * kWordBytes);
        AccumulatePair<WeightType::kF16, kPairVectors, kTokens>(weights, x.values + 2 * i, x.value_stride, sums);
      }
      AddPairSums<WeightType::kF16, kPairVectors, kTokens>(sums, scales, x.FromColumn(2 * first), totals);
      for (const float*& scale : scales) scale += kRowTile;
    }
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPairVectors; ++v) {
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kTokens; ++t) hn::Store(totals[v][t], df, results + t * kPairStride + lane + v * kWordLanes);
    }
  }
}

HWY_INLINE void MultiplyInt16Tokens(const Int16Panel* HWY_RESTRICT panels, std::size_t columns, PairTokens x, std::size_t tokens,
                                    float* HWY_RESTRICT results) {
  std::size_t token = 0;
  const auto tiles = [&]<std::size_t kTokens>() HWY_ATTR {
    for (; token + kTokens <= tokens; token += kTokens) {
      MultiplyInt16Tile<kTokens>(panels, columns, x.From(token), results + token * kPairStride);
    }
  };
  tiles.template operator()<kPairTokens>();
  if constexpr (kPairTokens > 4) tiles.template operator()<4>();
  tiles.template operator()<2>();
  tiles.template operator()<1>();
}

// Each weight goes from memory to the multiplier through registers, once for kPairDirect tokens.
template <WeightType kType>
void MultiplyPairsDirect(const std::byte* packed, std::size_t cols, const PairTokens& x, std::size_t token_begin,
                         std::size_t token_end, std::size_t row_begin, std::size_t row_end, const Output& out) {
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  constexpr std::size_t kSums = 2 * kPairDirect<kType>;  // vectors
  alignas(64) float results[kSums * kWordLanes];
  const auto multiply = [&]<std::size_t kVectors, std::size_t kTokens>(std::size_t token, std::size_t row) HWY_ATTR {
    constexpr std::size_t kRows = kVectors * kWordLanes;
    static_assert(kRows % kRowTile == 0 && kVectors * kTokens <= kSums);
    const std::size_t count = std::min(kRows, row_end - row);
    MultiplyPairRows<kType, kVectors, kTokens>(packed + row / kRowTile * tile_bytes, DivideUp(count, kRowTile), cols,
                                               x.From(token), results);
    StoreResults(results, kRows, kTokens, count, out, token, row);
  };
  constexpr std::size_t kHalf = 2 * kWordLanes;
  for (std::size_t row = row_begin; row < row_end; row += 2 * kHalf) {
    const bool wide = row_end - row > kHalf;
    // As many tokens as come in tiles of kTokens, with four vectors of rows, or twice two where there are too many sums.
    std::size_t token = token_begin;
    const auto tokens = [&]<std::size_t kTokens>() HWY_ATTR {
      if constexpr (4 * kTokens <= kSums) {
        if (wide) {
          for (; token + kTokens <= token_end; token += kTokens) multiply.template operator()<4, kTokens>(token, row);
          return;
        }
      }
      const std::size_t first = token;
      for (std::size_t half = row; half < std::min(row_end, row + 2 * kHalf); half += kHalf) {
        for (token = first; token + kTokens <= token_end; token += kTokens) {
          multiply.template operator()<2, kTokens>(token, half);
        }
      }
    };
    tokens.template operator()<kPairDirect<kType>>();
    if constexpr (kPairDirect<kType> > 4) tokens.template operator()<4>();
    tokens.template operator()<2>();
    tokens.template operator()<1>();
  }
}

// Weights go through a panel in the first-level cache. At most kPairBlock tokens.
inline void MultiplyInt16Panels(const std::byte* packed, std::size_t cols, const PairTokens& x, std::size_t token_begin,
                                std::size_t token_end, std::size_t row_begin, std::size_t row_end, const Output& out) {
  constexpr std::size_t kStep = 4 * kPairTokens;  // tokens between two looks ahead
  constexpr std::size_t kColumnBytes = 2 * kRowTile;
  const std::size_t tile_bytes = PackedTileBytes(WeightType::kF16, cols);
  const std::size_t tokens = token_end - token_begin;
  alignas(64) float results[kPairBlock * kPairStride];
  Int16Panel panels[kPairTiles];
  for (std::size_t row = row_begin; row < row_end; row += kPairStride) {
    const std::byte* first_tile = packed + row / kRowTile * tile_bytes;
    const std::size_t tiles = DivideUp(std::min(kPairStride, row_end - row), kRowTile);
    std::fill_n(results, tokens * kPairStride, 0.0f);
    for (std::size_t col = 0; col < cols; col += kColumnGroup) {
      const std::size_t columns = std::min(kColumnGroup, cols - col);
      for (std::size_t i = 0; i < kPairTiles; ++i) {
        // Where the last row tile has no neighbour, it is its own.
        UnpackInt16(first_tile + std::min(i, tiles - 1) * tile_bytes, cols, col, col + columns, panels[i]);
      }
      // The weights that are unpacked next come from memory meanwhile.
      const std::size_t lines = DivideUp(columns * kColumnBytes, 64 * DivideUp(tokens, kStep));
      const std::byte* ahead = first_tile + PackedColumnsAt(WeightType::kF16, cols) + (col + columns) * kColumnBytes;
      for (std::size_t t = 0; t < tokens; t += kStep) {
        for (std::size_t i = 0; i < lines; ++i, ahead += 64) {
          for (std::size_t j = 0; j < tiles; ++j) __builtin_prefetch(ahead + j * tile_bytes, 0, 2);
        }
        const std::size_t count = std::min(kStep, tokens - t);
        MultiplyInt16Tokens(panels, columns, x.From(token_begin + t).FromColumn(col), count, results + t * kPairStride);
        // While the next tokens are multiplied: all at once, stores to so many lines would wait for each other.
        if (col + columns == cols) {
          StoreResults(results + t * kPairStride, kPairStride, count, std::min(kPairStride, row_end - row), out, token_begin + t,
                       row);
        }
      }
    }
  }
}

}  // namespace detail

// MatMul (matmul-inl.hpp) for one such type. Needs 50 KiB of stack.
template <WeightType kType>
HWY_NOINLINE void MatMulPairs(const std::byte* packed, [[maybe_unused]] std::size_t rows, std::size_t cols,
                              const Activations& activations, std::size_t token_begin, std::size_t token_end,
                              std::size_t row_begin, std::size_t row_end, const Output& out) {
  const PairedRows& form = kType == WeightType::kF16 ? activations.int16 : activations.bf16;
  const detail::PairTokens x{form.values, form.scales, form.value_stride, form.scale_stride};
  const std::size_t tokens = token_end - token_begin;
#if INLAY_AMX_BF16
  if (kType == WeightType::kBF16 && tokens > detail::kPairDirect<kType> && AmxPermitted()) {
    MultiplyBF16WithAmx(packed, rows, cols, x.values, x.value_stride, token_begin, token_end, row_begin, row_end, out);
    return;
  }
#endif
  if (kType == WeightType::kBF16 || tokens <= detail::kPairDirect<kType>) {
    detail::MultiplyPairsDirect<kType>(packed, cols, x, token_begin, token_end, row_begin, row_end, out);
  } else if constexpr (kType == WeightType::kF16) {
    // Blocks of tokens of about the same size.
    std::size_t token = token_begin;
    for (std::size_t left = DivideUp(tokens, detail::kPairBlock); left != 0; --left) {
      const std::size_t end = token + DivideUp(token_end - token, left);
      detail::MultiplyInt16Panels(packed, cols, x, token, end, row_begin, row_end, out);
      token = end;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();
#endif  // INLAY_INT16_PAIRS

#endif  // toggle guard

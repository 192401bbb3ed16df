// Matrix products with quantised weights: 16 packed rows times a few tokens of 8-bit activations at a time.
//
// Written once for all formats and targets: a format says how its levels unpack to bytes (UnpackLevels) and which scales
// it has; a target says how bytes multiply (simd-inl.hpp). K-quants stay in integers over their 256 columns: the widening
// step multiplies with the 6- or 8-bit sub-scale, and one convert and multiply-add per 256 columns follows. The integers
// are the same on every target, and float sums run over the blocks of a row in order, whatever the tiling: any split of
// tokens and rows gives the same bits.

#include <cstddef>
#include <cstdint>

#include "inlay/core/extents.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/highway.hpp"
#include "inlay/kernels/output.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/kernels/quantized_amx-inl.hpp"
#include "inlay/kernels/quantized_formats-inl.hpp"
#include "inlay/kernels/quantized_panel-inl.hpp"
#include "inlay/kernels/results-inl.hpp"
#include "inlay/kernels/simd-inl.hpp"

#if defined(INLAY_KERNELS_QUANTIZED_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZED_MATMUL_INL_HPP_
#undef INLAY_KERNELS_QUANTIZED_MATMUL_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZED_MATMUL_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Tokens that share one unpacking of the weights into registers.
inline constexpr std::size_t kTokenTile = 4;
// From this number of tokens on, unpacking to memory pays.
inline constexpr std::size_t kPanelMinTokens = 2 * kPanelTokens;
#if INLAY_AMX
inline constexpr std::size_t kAmxMinTokens = kAmxTokens;
#endif

// sum + scale * (kWords words of levels times as many of activations), exact. Levels have kBits bits, activations are
// -127 .. 127, prepared scales -128 .. 127.
template <int kBits, std::size_t kWords>
HWY_INLINE Words AccumulateScaled(Words sum, const Words* HWY_RESTRICT levels, const std::int8_t* HWY_RESTRICT activations,
                                  Words scale) {
  [[maybe_unused]] constexpr int kMost = MostByte(kBits);
#if INLAY_MADDUBS
  // Products that fit 16 bits together.
  constexpr std::size_t kChain = 32767 / (2 * 127 * kMost) < kWords ? 32767 / (2 * 127 * kMost) : kWords;
  static_assert(kWords % kChain == 0);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; i += kChain) {
    Words pairs = MultiplyToPairs<kBits>(levels[i], BroadcastWord(activations + 4 * i));
    HWY_UNROLL(8)
    for (std::size_t j = i + 1; j < i + kChain; ++j) {
      pairs = AddPairs(pairs, MultiplyToPairs<kBits>(levels[j], BroadcastWord(activations + 4 * j)));
      Pin(pairs);
    }
    sum = AccumulatePairs(sum, pairs, scale);
    Pin(sum);
  }
  return sum;
#else
  const WordTag d;
#if INLAY_DOT4_UNSIGNED
  // As long as a sum fits 16 bits, one multiply-add of pairs applies the scale (its upper half is zero), instead of a
  // 32-bit product, which takes two multiplies, and an addition.
  constexpr std::size_t kChain = 32767 / (4 * 127 * kMost) < kWords ? 32767 / (4 * 127 * kMost) : kWords;
  if constexpr (kBits <= 4) {
    static_assert(kWords % kChain == 0);
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < kWords; i += kChain) {
      Words dot = hn::Zero(d);
      HWY_UNROLL(8)
      for (std::size_t j = i; j < i + kChain; ++j) {
        dot = AccumulateDot4(dot, levels[j], BroadcastWord(activations + 4 * j));
      }
      sum = AccumulatePairs(sum, dot, scale);
    }
    return sum;
  }
#endif
  Words dot = hn::Zero(d);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; ++i) {
    dot = AccumulateDot4(dot, levels[i], BroadcastWord(activations + 4 * i));
    Pin(dot);
  }
  sum = hn::Add(sum, hn::Mul(dot, scale));
  Pin(sum);
  return sum;
#endif
}

// sum + 8 words of levels times 32 activations, exact.
template <int kBits>
HWY_INLINE Words AccumulateDot32(Words sum, const Words* HWY_RESTRICT levels, const std::int8_t* HWY_RESTRICT activations) {
#if INLAY_MADDUBS
  if constexpr (kBits < 8) {
    return AccumulateScaled<kBits, 8>(sum, levels, activations, hn::Set(WordTag(), 0x00010001));
  }
#endif
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < 8; ++i) {
    sum = AccumulateDot4(sum, levels[i], BroadcastWord(activations + 4 * i));
    Pin(sum);
  }
  return sum;
}

// sums[t] += one block of 32 columns times token t. `lane` is the first row of the vector.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyBlock32(const std::uint8_t* HWY_RESTRICT header, const std::uint8_t* HWY_RESTRICT packed,
                                std::size_t lane, const TokenRows& x, Floats* HWY_RESTRICT sums) {
  constexpr int kBits = kByteBits<kType>;
  const FloatTag df;
  const WordTag di;
  Words levels[8];
  if (lane == 0) FetchAhead<kWeightsAhead, PackedLevelBytes(kType)>(packed);
  UnpackLevels<kType>(packed + 4 * lane, levels);
  const Floats scale = LoadBlockScale<kType>(header, lane);
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    const std::int32_t sum = x.sums[t * x.sum_stride];
    const float token_scale = x.scales[t * x.scale_stride];
    Words dot = hn::Zero(di);
    if constexpr (kByteOffset<kType> != 0) dot = hn::Set(di, -kByteOffset<kType> * sum);
    dot = AccumulateDot32<kBits>(dot, levels, x.values + t * x.value_stride);
    Floats value = hn::Mul(hn::ConvertTo(df, dot), scale);
    if constexpr (kHasMin<kType>) {
      value = hn::MulAdd(hn::Set(df, static_cast<float>(sum)), LoadBlockMin(header, lane), value);
    }
    sums[t] = hn::MulAdd(value, hn::Set(df, token_scale), sums[t]);
  }
}

// sums[t] += one block of 256 columns times token t.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyBlock256(const std::uint8_t* HWY_RESTRICT block, std::size_t lane, const TokenRows& x,
                                 Floats* HWY_RESTRICT sums) {
  constexpr int kBits = kByteBits<kType>;
  constexpr std::size_t kGroupWords = kGroupColumns<kType> / 4;
  const FloatTag df;
  const WordTag di;
  if (lane == 0) FetchAhead<kWeightsAhead, PackedHeaderBytes(kType)>(block);
  // In memory, so that the loop over groups need not be unrolled.
  Words scales[256 / kGroupColumns<kType>];
  Words corrections[kCorrections<kType>];
  LoadGroupScales<kType>(block, lane, scales, corrections);
  [[maybe_unused]] const auto correction = [&](std::size_t t) HWY_ATTR {
    const std::int16_t* token_sums = x.sums + t * x.sum_stride + kCorrectionSums<kType>;
    Words sum = MultiplyAddPairs(corrections[0], BroadcastWord(token_sums));
    HWY_UNROLL(8)
    for (std::size_t i = 1; i < kCorrections<kType>; ++i) {
      sum = AccumulatePairs(sum, corrections[i], BroadcastWord(token_sums + 2 * i));
    }
    return sum;
  };
  Words totals[kTokens];
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    if constexpr (kByteOffset<kType> != 0) {
      totals[t] = hn::Mul(correction(t), hn::Set(di, -kByteOffset<kType>));
    } else {
      totals[t] = hn::Zero(di);
    }
  }
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint8_t* packed = block + PackedHeaderBytes(kType) + i * PackedLevelBytes(kType);
    if (lane == 0) FetchAhead<kWeightsAhead, PackedLevelBytes(kType)>(packed);
    Words levels[8];
    UnpackLevels<kType>(packed + 4 * lane, levels);
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) {
      HWY_UNROLL(2)
      for (std::size_t word = 0; word < 8; word += kGroupWords) {
        totals[t] = AccumulateScaled<kBits, kGroupWords>(totals[t], levels + word,
                                                         x.values + t * x.value_stride + 32 * i + 4 * word,
                                                         scales[(8 * i + word) / kGroupWords]);
      }
    }
  }
  const Floats scale = LoadBlockScale<kType>(block, lane);
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    Floats value = hn::Mul(hn::ConvertTo(df, totals[t]), scale);
    if constexpr (kHasMin<kType>) {
      value = hn::NegMulAdd(hn::ConvertTo(df, correction(t)), LoadBlockMin(block, lane), value);
    }
    sums[t] = hn::MulAdd(value, hn::Set(df, x.scales[t * x.scale_stride]), sums[t]);
  }
}

// results[t * 16 + r] = row r of one tile times token t.
template <WeightType kType, std::size_t kTokens, Extent Cols>
HWY_NOINLINE void MultiplyTile(const std::uint8_t* HWY_RESTRICT tile, Cols cols, TokenRows x, float* HWY_RESTRICT results) {
  constexpr std::size_t kValues = Info(kType).block_values;
  const FloatTag df;
  // All rows of a block before the next block, so that the tile is read from memory once and in order.
  Floats sums[kRowTile / kWordLanes][kTokens];
  for (auto& vector : sums) {
    for (Floats& sum : vector) sum = hn::Zero(df);
  }
  TokenRows at = x;
  for (std::size_t col = 0; col < cols; col += kColumnGroup) {
    const std::uint8_t* group = tile + col / kValues * PackedBlockBytes(kType);
    if constexpr (kValues == kColumnGroup) {
      for (std::size_t v = 0; v < kRowTile / kWordLanes; ++v) {
        MultiplyBlock256<kType, kTokens>(group, v * kWordLanes, at, sums[v]);
      }
      at = at.template FromBlock<kValues>(1);
    } else {
      const std::size_t blocks = GroupBlocks(kType, cols - col);
      const std::uint8_t* levels = group + blocks * PackedHeaderBytes(kType);
      FetchAhead<kWeightsAhead, kColumnGroup / kValues * PackedHeaderBytes(kType)>(group);
      for (std::size_t b = 0; b < blocks; ++b) {
        for (std::size_t v = 0; v < kRowTile / kWordLanes; ++v) {
          MultiplyBlock32<kType, kTokens>(group + b * PackedHeaderBytes(kType), levels + b * PackedLevelBytes(kType),
                                          v * kWordLanes, at, sums[v]);
        }
        at = at.template FromBlock<kValues>(1);
      }
    }
  }
  for (std::size_t v = 0; v < kRowTile / kWordLanes; ++v) {
    for (std::size_t t = 0; t < kTokens; ++t) hn::StoreU(sums[v][t], df, results + t * kRowTile + v * kWordLanes);
  }
}

// A few tokens, one row tile at a time: the tile's weights come from memory once.
template <WeightType kType, Extent Cols>
void MultiplyTiles(const std::uint8_t* packed, std::size_t rows, Cols cols, const TokenRows& x, std::size_t token_begin,
                   std::size_t token_end, std::size_t row_begin, std::size_t row_end, const Output& out) {
  alignas(64) float results[kTokenTile * kRowTile];
  for (std::size_t row = row_begin; row < row_end; row += kRowTile) {
    const std::uint8_t* tile = packed + row / kRowTile * PackedTileBytes(kType, cols);
    for (std::size_t token = token_begin; token < token_end;) {
      const std::size_t left = token_end - token;
      const TokenRows at = x.From(token);
      std::size_t tokens = 1;
      if (left >= kTokenTile) {
        MultiplyTile<kType, kTokenTile>(tile, cols, at, results);
        tokens = kTokenTile;
      } else if (left >= 2) {
        MultiplyTile<kType, 2>(tile, cols, at, results);
        tokens = 2;
      } else {
        MultiplyTile<kType, 1>(tile, cols, at, results);
      }
      StoreResults(results, kRowTile, tokens, rows - row < kRowTile ? rows - row : kRowTile, out, token, row);
      token += tokens;
    }
  }
}

// Many tokens. Needs 24 KiB of stack.
template <WeightType kType>
HWY_NOINLINE void MultiplyWithPanels(const std::uint8_t* packed, std::size_t rows, std::size_t cols, const TokenRows& x,
                                     std::size_t token_begin, std::size_t token_end, std::size_t row_begin,
                                     std::size_t row_end, const Output& out) {
  alignas(64) float results[kPanelBlock * kPanelStride];
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  // Blocks of tokens of about the same size. All rows of a block before the next one: its activations stay in the
  // second-level cache, and the weights, which are fetched ahead, stream past them.
  const std::size_t token_tiles = DivideUp(token_end - token_begin, kPanelTokens);
  const std::size_t blocks = DivideUp(token_tiles, kPanelBlock / kPanelTokens);
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::size_t token = token_begin + b * token_tiles / blocks * kPanelTokens;
    const std::size_t stop = token_begin + (b + 1) * token_tiles / blocks * kPanelTokens;
    const std::size_t tokens = (stop < token_end ? stop : token_end) - token;
    const std::size_t left = tokens % kPanelTokens;  // of the last register tile, which also has tokens before them
    const std::size_t whole = tokens - left;
    for (std::size_t row = row_begin; row < row_end; row += kPanelStride) {
      const std::size_t row_stop = row_end - row < kPanelStride ? row_end : row + kPanelStride;
      const std::uint8_t* tile = packed + row / kRowTile * tile_bytes;
      // Where the last row tile has no neighbour, it is its own: the second half of the results is not stored.
      const std::size_t next = row + kRowTile < rows ? tile_bytes : 0;
      MultiplyPanels<kType>(tile, next, cols, x.From(token), tokens, results);
      StoreResults(results, kPanelStride, whole, row_stop - row, out, token, row);
      const float* last = results + (whole + kPanelTokens - left) * kPanelStride;
      if (left != 0) StoreResults(last, kPanelStride, left, row_stop - row, out, token + whole, row);
    }
  }
}

// MatMul (matmul-inl.hpp) for one quantised type.
template <WeightType kType, Extent Cols>
void MatMulQuantized(const std::byte* packed_bytes, std::size_t rows, Cols cols, const Activations& activations,
                     std::size_t token_begin, std::size_t token_end, std::size_t row_begin, std::size_t row_end,
                     const Output& out) {
  const auto* packed = reinterpret_cast<const std::uint8_t*>(packed_bytes);
  const TokenRows x(Info(kType).block_values == 32 ? activations.block32 : activations.block256);
  const std::size_t tokens = token_end - token_begin;
#if INLAY_AMX
  if (tokens >= kAmxMinTokens && AmxPermitted()) {
    MultiplyWithAmx<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
    return;
  }
#endif
  if (tokens >= kPanelMinTokens) {
    MultiplyWithPanels<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
  } else {
    MultiplyTiles<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

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

// Tokens that share one unpacking of the weights: with 32 registers 8, else 4.
inline constexpr std::size_t kTokenTile =
    (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3) || HWY_ARCH_ARM_A64 ? 8 : 4;

// Levels are unsigned bytes on targets that multiply those: 8-bit weights get 128 added there.
template <WeightType kType>
inline constexpr int kByteOffset = LevelBits(kType) == 8 && INLAY_DOT4_UNSIGNED ? 128 : LevelOffset(kType);

// The levels of 32 columns as 8 words (word i: columns 4i .. 4i+3). `packed` points at the lanes wanted. Shifts cross
// bytes; the masks remove what came over.
template <int kBits>
HWY_INLINE void UnpackLevels(const std::uint8_t* HWY_RESTRICT packed, Words* HWY_RESTRICT words) {
  const WordTag d;
  if constexpr (kBits == 8) {
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < 8; ++i) {
      words[i] = LoadWords(packed + i * kWordBytes);
#if INLAY_DOT4_UNSIGNED
      words[i] = hn::Xor(words[i], hn::Set(d, static_cast<std::int32_t>(0x80808080u)));
#endif
    }
    return;
  }
  const Words low = hn::Set(d, 0x0F0F0F0F);
  HWY_UNROLL(4)
  for (std::size_t i = 0; i < 4; ++i) {
    const Words nibbles = LoadWords(packed + i * kWordBytes);
    words[i] = hn::And(nibbles, low);
    words[i + 4] = hn::And(hn::ShiftRight<4>(nibbles), low);
  }
  if constexpr (kBits == 5) {
    const Words bits = LoadWords(packed + 4 * kWordBytes);
    const Words fifth = hn::Set(d, 0x10101010);
    words[0] = hn::Or(words[0], hn::And(hn::ShiftLeft<4>(bits), fifth));
    words[1] = hn::Or(words[1], hn::And(hn::ShiftLeft<3>(bits), fifth));
    words[2] = hn::Or(words[2], hn::And(hn::ShiftLeft<2>(bits), fifth));
    words[3] = hn::Or(words[3], hn::And(hn::ShiftLeft<1>(bits), fifth));
    words[4] = hn::Or(words[4], hn::And(bits, fifth));
    words[5] = hn::Or(words[5], hn::And(hn::ShiftRight<1>(bits), fifth));
    words[6] = hn::Or(words[6], hn::And(hn::ShiftRight<2>(bits), fifth));
    words[7] = hn::Or(words[7], hn::And(hn::ShiftRight<3>(bits), fifth));
  }
  if constexpr (kBits == 6) {
    const Words upper = hn::Set(d, 0x30303030);
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 2; ++i) {
      const Words bits = LoadWords(packed + (4 + i) * kWordBytes);
      words[4 * i] = hn::Or(words[4 * i], hn::And(hn::ShiftLeft<4>(bits), upper));
      words[4 * i + 1] = hn::Or(words[4 * i + 1], hn::And(hn::ShiftLeft<2>(bits), upper));
      words[4 * i + 2] = hn::Or(words[4 * i + 2], hn::And(bits, upper));
      words[4 * i + 3] = hn::Or(words[4 * i + 3], hn::And(hn::ShiftRight<2>(bits), upper));
    }
  }
}

// A sub-scale per lane in the form that AccumulateScaled wants: where bytes multiply to 16-bit pairs, in both halves.
HWY_INLINE Words PrepareScale(Words scale) {
#if INLAY_MADDUBS
  return hn::Or(hn::And(scale, hn::Set(WordTag(), 0xFFFF)), hn::ShiftLeft<16>(scale));
#else
  return scale;
#endif
}

// sum + scale * (kWords words of levels times as many of activations), exact. Levels have kBits bits, activations are
// -127 .. 127, prepared scales -128 .. 127.
template <int kBits, std::size_t kWords>
HWY_INLINE Words AccumulateScaled(Words sum, const Words* HWY_RESTRICT levels, const std::int8_t* HWY_RESTRICT activations,
                                  Words scale) {
  [[maybe_unused]] constexpr int kMost = (1 << kBits) - 1;
#if INLAY_MADDUBS
  // Products that fit 16 bits together.
  constexpr std::size_t kChain = 32767 / (2 * 127 * kMost) < kWords ? 32767 / (2 * 127 * kMost) : kWords;
  static_assert(kWords % kChain == 0);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; i += kChain) {
    Words pairs = MultiplyBytesToPairs(levels[i], BroadcastWord(activations + 4 * i));
    HWY_UNROLL(8)
    for (std::size_t j = i + 1; j < i + kChain; ++j) {
      pairs = AddPairs(pairs, MultiplyBytesToPairs(levels[j], BroadcastWord(activations + 4 * j)));
    }
    sum = AccumulatePairs(sum, pairs, scale);
  }
  return sum;
#else
  const WordTag d;
#if INLAY_DOT4_UNSIGNED
  // As long as a sum fits 16 bits, one multiply-add of pairs applies the scale (its upper half is zero), instead of a
  // 32-bit product, which takes two multiplies, and an addition.
  constexpr std::size_t kChain = 32767 / (4 * 127 * kMost);
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
  for (std::size_t i = 0; i < kWords; ++i) dot = AccumulateDot4(dot, levels[i], BroadcastWord(activations + 4 * i));
  return hn::Add(sum, hn::Mul(dot, scale));
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
  for (std::size_t i = 0; i < 8; ++i) sum = AccumulateDot4(sum, levels[i], BroadcastWord(activations + 4 * i));
  return sum;
}

// The activations of a register tile: token t's are at t strides.
struct TokenRows {
  const std::int8_t* values;
  const float* scales;
  const std::int16_t* sums;
  std::size_t value_stride;
  std::size_t scale_stride;
  std::size_t sum_stride;
};

// sums[t] += one block of 32 columns times token t. `block` is the packed block, `lane` the first row of the vector.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyBlock32(const std::uint8_t* HWY_RESTRICT block, std::size_t lane, const TokenRows& x,
                                Floats* HWY_RESTRICT sums) {
  constexpr int kBits = LevelBits(kType);
  constexpr bool kHasMin = PackedHeaderBytes(kType) == 64;
  const FloatTag df;
  const WordTag di;
  Words levels[8];
  UnpackLevels<kBits>(block + PackedHeaderBytes(kType) + 4 * lane, levels);
  const Floats scale = LoadHalves(block + 2 * lane);
  [[maybe_unused]] const Floats min = LoadHalves(block + (kHasMin ? 32 : 0) + 2 * lane);
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    const std::int32_t sum = x.sums[t * x.sum_stride];
    const float token_scale = x.scales[t * x.scale_stride];
    Words dot = hn::Zero(di);
    if constexpr (kByteOffset<kType> != 0) dot = hn::Set(di, -kByteOffset<kType> * sum);
    dot = AccumulateDot32<kBits>(dot, levels, x.values + t * x.value_stride);
    sums[t] = hn::MulAdd(hn::ConvertTo(df, dot), hn::Mul(scale, hn::Set(df, token_scale)), sums[t]);
    if constexpr (kHasMin) {
      sums[t] = hn::MulAdd(min, hn::Set(df, token_scale * static_cast<float>(sum)), sums[t]);
    }
  }
}

// sums[t] += one block of 256 columns times token t: Q4_K and Q5_K, scales and mins per 32 columns.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyBlockAffine256(const std::uint8_t* HWY_RESTRICT block, std::size_t lane, const TokenRows& x,
                                       Floats* HWY_RESTRICT sums) {
  constexpr int kBits = LevelBits(kType);
  const FloatTag df;
  const WordTag di;
  // See BlockQ4_K for the bits. Four scales or mins in the bytes of a word.
  const Words first = LoadWords(block + 64 + 4 * lane);
  const Words second = LoadWords(block + 64 + kWordBytes + 4 * lane);
  const Words third = LoadWords(block + 64 + 2 * kWordBytes + 4 * lane);
  const Words six = hn::Set(di, 0x3F3F3F3F);
  const Words four = hn::Set(di, 0x0F0F0F0F);
  const Words upper = hn::Set(di, 0x30303030);
  const Words scale_words[2] = {
      hn::And(first, six), hn::Or(hn::And(third, four), hn::And(hn::ShiftRight<2>(first), upper))};
  const Words min_words[2] = {
      hn::And(second, six),
      hn::Or(hn::And(hn::ShiftRight<4>(third), four), hn::And(hn::ShiftRight<2>(second), upper))};
  const Words even = hn::Set(di, 0x00FF00FF);
  const Words mins[4] = {hn::And(min_words[0], even), hn::And(hn::ShiftRight<8>(min_words[0]), even),
                         hn::And(min_words[1], even), hn::And(hn::ShiftRight<8>(min_words[1]), even)};
  const Floats min_scale = LoadHalves(block + 32 + 2 * lane);
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    const std::int16_t* token_sums = x.sums + t * x.sum_stride + 16;
    Words total = MultiplyAddPairs(mins[0], BroadcastWord(token_sums));
    total = AccumulatePairs(total, mins[1], BroadcastWord(token_sums + 2));
    total = AccumulatePairs(total, mins[2], BroadcastWord(token_sums + 4));
    total = AccumulatePairs(total, mins[3], BroadcastWord(token_sums + 6));
    sums[t] = hn::NegMulAdd(hn::ConvertTo(df, total), hn::Mul(min_scale, hn::Set(df, x.scales[t * x.scale_stride])),
                            sums[t]);
  }

  // In memory, so that the loop over groups need not be unrolled.
  const Words byte = hn::Set(di, 0xFF);
  Words scales[8];
  HWY_UNROLL(2)
  for (std::size_t i = 0; i < 2; ++i) {
    scales[4 * i] = PrepareScale(hn::And(scale_words[i], byte));
    scales[4 * i + 1] = PrepareScale(hn::And(hn::ShiftRight<8>(scale_words[i]), byte));
    scales[4 * i + 2] = PrepareScale(hn::And(hn::ShiftRight<16>(scale_words[i]), byte));
    scales[4 * i + 3] = PrepareScale(hn::ShiftRight<24>(scale_words[i]));
  }
  Words totals[kTokens];
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) totals[t] = hn::Zero(di);
  for (std::size_t group = 0; group < 8; ++group) {
    Words levels[8];
    UnpackLevels<kBits>(block + PackedHeaderBytes(kType) + group * PackedLevelBytes(kType) + 4 * lane, levels);
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) {
      totals[t] = AccumulateScaled<kBits, 8>(totals[t], levels, x.values + t * x.value_stride + 32 * group, scales[group]);
    }
  }
  const Floats scale = LoadHalves(block + 2 * lane);
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    sums[t] = hn::MulAdd(hn::ConvertTo(df, totals[t]), hn::Mul(scale, hn::Set(df, x.scales[t * x.scale_stride])), sums[t]);
  }
}

// sums[t] += one block of 256 columns times token t: Q6_K, scales per 16 columns and a constant offset.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyBlockOffset256(const std::uint8_t* HWY_RESTRICT block, std::size_t lane, const TokenRows& x,
                                       Floats* HWY_RESTRICT sums) {
  constexpr int kBits = LevelBits(kType);
  const FloatTag df;
  const WordTag di;
  Words totals[kTokens];
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) totals[t] = hn::Zero(di);
  // Two scales of a group of 32 columns in a lane's halves, against the activation sums of 16.
  const Words low = hn::Set(di, 0xFFFF);
  for (std::size_t group = 0; group < 8; ++group) {
    const std::uint8_t* scales = block + 32 + 2 * group * kRowTile + lane;
    const Words both = hn::Or(hn::And(LoadBytesSigned(scales), low), hn::ShiftLeft<16>(LoadBytesSigned(scales + kRowTile)));
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) {
      totals[t] = AccumulatePairs(totals[t], both, BroadcastWord(x.sums + t * x.sum_stride + 2 * group));
    }
  }
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) totals[t] = hn::Mul(totals[t], hn::Set(di, -kByteOffset<kType>));
  for (std::size_t group = 0; group < 8; ++group) {
    const std::uint8_t* scales = block + 32 + 2 * group * kRowTile + lane;
    const Words first = PrepareScale(LoadBytesSigned(scales));
    const Words second = PrepareScale(LoadBytesSigned(scales + kRowTile));
    Words levels[8];
    UnpackLevels<kBits>(block + PackedHeaderBytes(kType) + group * PackedLevelBytes(kType) + 4 * lane, levels);
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) {
      const std::int8_t* values = x.values + t * x.value_stride + 32 * group;
      totals[t] = AccumulateScaled<kBits, 4>(totals[t], levels, values, first);
      totals[t] = AccumulateScaled<kBits, 4>(totals[t], levels + 4, values + 16, second);
    }
  }
  const Floats scale = LoadHalves(block + 2 * lane);
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    sums[t] = hn::MulAdd(hn::ConvertTo(df, totals[t]), hn::Mul(scale, hn::Set(df, x.scales[t * x.scale_stride])), sums[t]);
  }
}

// results[t * 16 + r] = row r of one tile times token t.
template <WeightType kType, std::size_t kTokens, Extent Cols>
HWY_NOINLINE void MultiplyTile(const std::uint8_t* HWY_RESTRICT tile, Cols cols, TokenRows x, float* HWY_RESTRICT results) {
  constexpr std::size_t kValues = Info(kType).block_values;
  const FloatTag df;
  for (std::size_t lane = 0; lane < kRowTile; lane += kWordLanes) {
    Floats sums[kTokens];
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) sums[t] = hn::Zero(df);
    TokenRows at = x;
    for (std::size_t b = 0; b < cols / kValues; ++b) {
      const std::uint8_t* block = tile + b * PackedBlockBytes(kType);
      if constexpr (kValues == 32) {
        MultiplyBlock32<kType, kTokens>(block, lane, at, sums);
      } else if constexpr (kType == WeightType::kQ6_K) {
        MultiplyBlockOffset256<kType, kTokens>(block, lane, at, sums);
      } else {
        MultiplyBlockAffine256<kType, kTokens>(block, lane, at, sums);
      }
      at.values += kValues;
      at.scales += 1;
      at.sums += kValues == 32 ? 1 : 24;
    }
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) hn::StoreU(sums[t], df, results + t * kRowTile + lane);
  }
}

// Stores or adds one tile's results of `tokens` tokens; `rows` (1 .. 16) of them exist.
HWY_INLINE void StoreResults(const float* HWY_RESTRICT results, std::size_t tokens, std::size_t rows, const Output& out,
                             std::size_t token, std::size_t row) {
  for (std::size_t t = 0; t < tokens; ++t) {
    float* to = out.data + (token + t) * out.stride + row;
    const float* from = results + t * kRowTile;
    if (out.accumulate) {
      for (std::size_t r = 0; r < rows; ++r) to[r] += from[r];
    } else {
      for (std::size_t r = 0; r < rows; ++r) to[r] = from[r];
    }
  }
}

// MatMul (matmul-inl.hpp) for one quantised type.
template <WeightType kType, Extent Cols>
void MatMulQuantized(const std::byte* packed, std::size_t rows, Cols cols, const Activations& x, std::size_t token_begin,
                     std::size_t token_end, std::size_t row_begin, std::size_t row_end, const Output& out) {
  const QuantizedRows& q = Info(kType).block_values == 32 ? x.block32 : x.block256;
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  for (std::size_t row = row_begin; row < row_end; row += kRowTile) {
    const auto* tile = reinterpret_cast<const std::uint8_t*>(packed) + row / kRowTile * tile_bytes;
    const std::size_t tile_rows = rows - row < kRowTile ? rows - row : kRowTile;
    for (std::size_t token = token_begin; token < token_end;) {
      const TokenRows at{q.values + token * q.value_stride, q.scales + token * q.scale_stride,
                         q.sums + token * q.sum_stride,     q.value_stride,
                         q.scale_stride,                    q.sum_stride};
      alignas(64) float results[kTokenTile * kRowTile];
      const std::size_t left = token_end - token;
      std::size_t tokens = 1;
      if (kTokenTile == 8 && left >= 8) {
        MultiplyTile<kType, kTokenTile>(tile, cols, at, results);
        tokens = kTokenTile;
      } else if (left >= 4) {
        MultiplyTile<kType, 4>(tile, cols, at, results);
        tokens = 4;
      } else if (left >= 2) {
        MultiplyTile<kType, 2>(tile, cols, at, results);
        tokens = 2;
      } else {
        MultiplyTile<kType, 1>(tile, cols, at, results);
      }
      StoreResults(results, tokens, tile_rows, out, token, row);
      token += tokens;
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

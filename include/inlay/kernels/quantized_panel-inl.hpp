// Matrix products with quantised weights for many tokens (prefill): 256 columns of a row tile are unpacked once into a
// panel in the first-level cache and multiplied with a whole block of tokens.
//
// Apart from the kernels for few tokens (quantized_matmul-inl.hpp), which unpack into registers. Both compute the same
// integers per block and add the blocks of a row to the float sum in order, so that they give the same bits.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/highway.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/kernels/quantized_formats-inl.hpp"
#include "inlay/kernels/simd-inl.hpp"

#if defined(INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_
#undef INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The register tile: kPanelVectors vectors of rows times kPanelTokens tokens. Two vectors share each broadcast of
// activations, which costs a load.
inline constexpr std::size_t kPanelVectors = 2;
inline constexpr std::size_t kPanelTokens = kWordLanes == 16 ? 6 : 4;
// Row tiles that are processed together.
inline constexpr std::size_t kPanelTiles = kPanelVectors * kWordLanes / kRowTile == 0 ? 1 : kPanelVectors * kWordLanes / kRowTile;
// Tokens that share one unpacking. Their float sums wait in the caller's buffer, 12 KiB with vectors of 8 and 16 rows.
inline constexpr std::size_t kPanelBlock = kWordLanes == 8 ? 192 : 96;

// How the levels of a panel are multiplied with activations.
enum class PanelProduct {
  kDot,     // bytes to 32-bit sums: AccumulateDot4(levels, activations)
  kSigned,  // the same with the roles exchanged where the instruction wants one unsigned operand: levels are signed, with
            // their offset subtracted, activations have 128 added on their way from memory (an exclusive or, which runs
            // beside the multiplies). What that is too much depends on the weights alone and is computed once a panel.
  kPairs,   // bytes to 16-bit pairs of sums, which are scaled or widened by MultiplyAddPairs
  kMagnitudes,  // the same with the magnitudes of 8-bit levels, which fill 16 bits with a pair; activations take the signs
};
template <WeightType kType>
inline constexpr PanelProduct kPanelProduct =
    INLAY_MADDUBS ? (kByteBits<kType> == 8 ? PanelProduct::kMagnitudes : PanelProduct::kPairs)
                  : (INLAY_DOT4_UNSIGNED && kByteOffset<kType> != 0 ? PanelProduct::kSigned : PanelProduct::kDot);
// What levels in a panel are too large by; the sums of activations pay for it.
template <WeightType kType>
inline constexpr int kPanelOffset = kPanelProduct<kType> == PanelProduct::kSigned ? 0 : kByteOffset<kType>;

// 256 columns (fewer at the end of a row, for formats with blocks of 32) of one row tile, ready to multiply. Rows side by
// side as in the packed layout.
struct alignas(64) Panel {
  std::uint8_t levels[64 * kWordBytes];       // word i: columns 4i .. 4i+3
#if INLAY_MADDUBS
  std::uint8_t magnitudes[64 * kWordBytes];   // kMagnitudes: of the levels
#endif
  std::uint8_t scales[16 * kWordBytes];       // blocks of 256: prepared sub-scales of the groups
  std::uint8_t corrections[8 * kWordBytes];   // see LoadGroupScales; kSigned: where the sum of each block starts
  float block_scales[8 * kRowTile];           // of each block
  float block_mins[8 * kRowTile];
};

// Stores the levels of 32 columns as the panel wants them. kSigned: adds the sum of every kGroup of the 8 words to
// sums[0 ...].
template <WeightType kType, std::size_t kGroup>
HWY_INLINE void StorePanelLevels(const Words* HWY_RESTRICT levels, std::size_t offset, Panel& panel,
                                 [[maybe_unused]] Words* HWY_RESTRICT sums) {
  [[maybe_unused]] const WordTag d;
  HWY_UNROLL(8)
  for (std::size_t word = 0; word < 8; ++word) {
    std::uint8_t* to = panel.levels + offset + word * kWordBytes;
#if INLAY_DOT4_UNSIGNED  // elsewhere there is no such product, and with one lane no vector of bytes
    if constexpr (kPanelProduct<kType> == PanelProduct::kSigned) {
      const hn::Repartition<std::uint8_t, WordTag> d8;
      const Words level = hn::BitCast(d, hn::Sub(hn::BitCast(d8, levels[word]), hn::Set(d8, kByteOffset<kType>)));
      sums[word / kGroup] = AccumulateDot4(sums[word / kGroup], hn::Set(d, 0x01010101), level);
      StoreWords(level, to);
      continue;
    }
#elif INLAY_MADDUBS
    if constexpr (kPanelProduct<kType> == PanelProduct::kMagnitudes) {
      StoreWords(AbsoluteBytes(levels[word]), panel.magnitudes + offset + word * kWordBytes);
    }
#endif
    StoreWords(levels[word], to);
  }
}

template <WeightType kType>
HWY_NOINLINE void UnpackPanel(const std::uint8_t* HWY_RESTRICT packed, std::size_t blocks, Panel& panel) {
  constexpr std::size_t kBlockLevels = Info(kType).block_values / 32u;
  constexpr bool kSigned = kPanelProduct<kType> == PanelProduct::kSigned;
  constexpr std::size_t kGroup = kBlockLevels == 1 ? 8 : kGroupColumns<kType> / 4;  // words
  const WordTag di;
  const std::uint8_t* level_bytes = packed + blocks * PackedHeaderBytes(kType);
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::uint8_t* block = packed + b * PackedHeaderBytes(kType);
    for (std::size_t lane = 0; lane < kRowTile; lane += kWordLanes) {
      const FloatTag df;
      hn::Store(LoadBlockScale<kType>(block, lane), df, panel.block_scales + b * kRowTile + lane);
      if constexpr (kHasMin<kType>) hn::Store(LoadBlockMin(block, lane), df, panel.block_mins + b * kRowTile + lane);
      [[maybe_unused]] Words scales[256 / kGroupColumns<kType>];
      if constexpr (kBlockLevels == 8) {
        Words corrections[kCorrections<kType>];
        LoadGroupScales<kType>(block, lane, scales, corrections);
        for (std::size_t i = 0; i < 256 / kGroupColumns<kType>; ++i) {
          // Prepared for sums of 16 bits on some targets; here they multiply sums of 32.
          if constexpr (!INLAY_MADDUBS) scales[i] = hn::ShiftRight<16>(hn::ShiftLeft<16>(scales[i]));
          StoreWords(scales[i], panel.scales + i * kWordBytes + 4 * lane);
        }
        if constexpr (!kSigned) {
          for (std::size_t i = 0; i < kCorrections<kType>; ++i) {
            StoreWords(corrections[i], panel.corrections + i * kWordBytes + 4 * lane);
          }
        }
      }
      [[maybe_unused]] Words start = hn::Zero(di);
      for (std::size_t i = 0; i < kBlockLevels; ++i) {
        Words levels[8];
        UnpackLevels<kType>(level_bytes + (b * kBlockLevels + i) * PackedLevelBytes(kType) + 4 * lane, levels);
        Words sums[8 / kGroup];
        for (Words& sum : sums) sum = hn::Zero(di);
        StorePanelLevels<kType, kGroup>(levels, (b * kBlockLevels + i) * 8 * kWordBytes + 4 * lane, panel, sums);
        if constexpr (kSigned) {
          for (std::size_t g = 0; g < 8 / kGroup; ++g) {
            start = hn::Add(start, kBlockLevels == 1 ? sums[g] : hn::Mul(sums[g], scales[i * (8 / kGroup) + g]));
          }
        }
      }
      // Activations with 128 added multiply to this much more.
      if constexpr (kSigned) {
        StoreWords(hn::Mul(start, hn::Set(di, -128)), panel.corrections + b * kWordBytes + 4 * lane);
      }
    }
  }
}

// The vectors of a register tile, each kWordLanes rows of a panel.
struct PanelRows {
  const Panel* panel;
  std::size_t lane;

  // Vector `v`'s part of a word of every row, counted from the member `words` of the first panel.
  const std::uint8_t* Word(const std::uint8_t* words, std::size_t v) const {
    const std::size_t row = lane + v * kWordLanes;
    return words + row / kRowTile * sizeof(Panel) + row % kRowTile * 4;
  }
  const float* Scale(const float* scales, std::size_t v) const {
    return reinterpret_cast<const float*>(Word(reinterpret_cast<const std::uint8_t*>(scales), v));
  }
};

using PanelTile = Words[kPanelVectors][kPanelTokens];

// dots += kWords words of levels, from word `word` on, times activations. kPairs overwrites `dots`.
template <PanelProduct kProduct, std::size_t kWords>
HWY_INLINE void AccumulatePanel(const PanelRows& rows, std::size_t word, const std::int8_t* HWY_RESTRICT values,
                                std::size_t stride, PanelTile& dots) {
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; ++i) {
    Words levels[kPanelVectors];
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      levels[v] = LoadAlignedWords(rows.Word(rows.panel->levels, v) + (word + i) * kWordBytes);
    }
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      Words activations = BroadcastWord(values + t * stride + 4 * (word + i));
      if constexpr (kProduct == PanelProduct::kSigned) {
        activations = hn::Xor(activations, hn::Set(WordTag(), static_cast<std::int32_t>(0x80808080u)));
      }
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kPanelVectors; ++v) {
        if constexpr (kProduct == PanelProduct::kSigned) {
          dots[v][t] = AccumulateDot4(dots[v][t], activations, levels[v]);
        } else if constexpr (kProduct == PanelProduct::kDot) {
          dots[v][t] = AccumulateDot4(dots[v][t], levels[v], activations);
        } else {
#if INLAY_MADDUBS
          const Words pairs = MultiplyBytesToPairs(levels[v], activations);
          dots[v][t] = i == 0 ? pairs : AddPairs(dots[v][t], pairs);
#endif
        }
        Pin(dots[v][t]);
      }
    }
  }
}

#if INLAY_MADDUBS
// totals += scale * (kWords words of levels, from word `word` on, times activations); kMagnitudes.
template <std::size_t kWords, class Scale>
HWY_INLINE void AccumulateMagnitudes(const PanelRows& rows, std::size_t word, const std::int8_t* HWY_RESTRICT values,
                                     std::size_t stride, const Scale& scale, PanelTile& totals) {
  HWY_UNROLL(8)
  for (std::size_t i = word; i < word + kWords; ++i) {
    Words levels[kPanelVectors], magnitudes[kPanelVectors];
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      levels[v] = LoadAlignedWords(rows.Word(rows.panel->levels, v) + i * kWordBytes);
      magnitudes[v] = LoadAlignedWords(rows.Word(rows.panel->magnitudes, v) + i * kWordBytes);
    }
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      const Words activations = BroadcastWord(values + t * stride + 4 * i);
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kPanelVectors; ++v) {
        const Words pairs = MultiplyBytesToPairs(magnitudes[v], ApplySigns(activations, levels[v]));
        totals[v][t] = AccumulatePairs(totals[v][t], pairs, scale(v));
        Pin(totals[v][t]);
      }
    }
  }
}
#endif

// totals += scale * dots.
template <bool kPairs, class Scale>
HWY_INLINE void AddScaled(const PanelTile& dots, const Scale& scale, PanelTile& totals) {
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kPanelVectors; ++v) {
    const Words factor = scale(v);
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      totals[v][t] = kPairs ? AccumulatePairs(totals[v][t], dots[v][t], factor)
                            : hn::Add(totals[v][t], hn::Mul(dots[v][t], factor));
      Pin(totals[v][t]);
    }
  }
}

// Words whose products with bytes of kBits (below 8) bits fit 16 bits together.
template <int kBits>
inline constexpr std::size_t kPairChain = 32767 / (2 * 127 * MostByte(kBits));

// totals += scale * (kWords words of levels times activations), exact; `scale` counts groups.
template <WeightType kType, std::size_t kWords>
HWY_INLINE void AccumulateScaledPanel(const PanelRows& rows, std::size_t word, const std::int8_t* HWY_RESTRICT values,
                                      std::size_t stride, std::size_t scale, PanelTile& totals) {
  constexpr PanelProduct kProduct = kPanelProduct<kType>;
  constexpr bool kPairs = kProduct == PanelProduct::kPairs;
  const auto scales = [&](std::size_t v) HWY_ATTR {
    return LoadAlignedWords(rows.Word(rows.panel->scales, v) + scale * kWordBytes);
  };
#if INLAY_MADDUBS
  if constexpr (kProduct == PanelProduct::kMagnitudes) {
    AccumulateMagnitudes<kWords>(rows, word, values, stride, scales, totals);
    return;
  }
#endif
  // One 32-bit multiply and an addition for as many words as share a scale. (VNNI could scale 16-bit sums by its pairwise
  // multiply-add, but those are shorter: Q4_K on Zen 4 reaches 42 instead of 46 MAC/cycle then.)
  constexpr std::size_t kFits = kPairs ? kPairChain<kByteBits<kType>> : kWords;
  constexpr std::size_t kChain = kFits < kWords ? kFits : kWords;
  static_assert(kWords % kChain == 0);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; i += kChain) {
    PanelTile dots;
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) dots[v][t] = hn::Zero(WordTag());
    }
    AccumulatePanel<kProduct, kChain>(rows, word + i, values, stride, dots);
    AddScaled<kPairs>(dots, scales, totals);
  }
}

// dots += 32 columns, from word `word` on, exact.
template <WeightType kType>
HWY_INLINE void AccumulatePanel32(const PanelRows& rows, std::size_t word, const std::int8_t* HWY_RESTRICT values,
                                  std::size_t stride, PanelTile& dots) {
  constexpr PanelProduct kProduct = kPanelProduct<kType>;
#if INLAY_MADDUBS
  const auto one = [](std::size_t) HWY_ATTR { return hn::Set(WordTag(), 0x00010001); };
  if constexpr (kProduct == PanelProduct::kMagnitudes) {
    AccumulateMagnitudes<8>(rows, word, values, stride, one, dots);
  } else {
    constexpr std::size_t kFits = kPairChain<kByteBits<kType>>;
    constexpr std::size_t kChain = kFits < 8 ? kFits : 8;
    static_assert(8 % kChain == 0);
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < 8; i += kChain) {
      PanelTile pairs;
      AccumulatePanel<kProduct, kChain>(rows, word + i, values, stride, pairs);
      AddScaled<true>(pairs, one, dots);
    }
  }
#else
  AccumulatePanel<kProduct, 8>(rows, word, values, stride, dots);
#endif
}

// The integer part of the mins, or of what kPanelOffset is too much, for token `t`; `corrections` are the vector's.
template <WeightType kType>
HWY_INLINE Words PanelCorrection(const std::uint8_t* HWY_RESTRICT corrections, const TokenRows& x, std::size_t t) {
  const std::int16_t* token_sums = x.sums + t * x.sum_stride + kCorrectionSums<kType>;
  Words correction = MultiplyAddPairs(LoadAlignedWords(corrections), BroadcastWord(token_sums));
  HWY_UNROLL(8)
  for (std::size_t i = 1; i < kCorrections<kType>; ++i) {
    correction = AccumulatePairs(correction, LoadAlignedWords(corrections + i * kWordBytes), BroadcastWord(token_sums + 2 * i));
    Pin(correction);
  }
  return correction;
}

// sums[t * kSumStride + row] += 256 columns of the rows of a register tile times kPanelTokens tokens.
template <WeightType kType, std::size_t kSumStride>
HWY_INLINE void MultiplyPanel256(const PanelRows& rows, const TokenRows& x, float* HWY_RESTRICT sums) {
  constexpr std::size_t kGroupWords = kGroupColumns<kType> / 4;
  const FloatTag df;
  const WordTag di;
  PanelTile totals;
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kPanelVectors; ++v) {
    const std::uint8_t* corrections = rows.Word(rows.panel->corrections, v);
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      if constexpr (kPanelProduct<kType> == PanelProduct::kSigned) {
        totals[v][t] = LoadAlignedWords(corrections);
      } else if constexpr (kPanelOffset<kType> != 0) {
        totals[v][t] = hn::Mul(PanelCorrection<kType>(corrections, x, t), hn::Set(di, -kPanelOffset<kType>));
      } else {
        totals[v][t] = hn::Zero(di);
      }
    }
  }
  for (std::size_t word = 0; word < 64; word += 8) {
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 8; i += kGroupWords) {
      AccumulateScaledPanel<kType, kGroupWords>(rows, word + i, x.values, x.value_stride, (word + i) / kGroupWords, totals);
    }
  }
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kPanelVectors; ++v) {
    const Floats block_scale = hn::Load(df, rows.Scale(rows.panel->block_scales, v));
    [[maybe_unused]] const float* mins = rows.Scale(rows.panel->block_mins, v);
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      float* sum = sums + t * kSumStride + v * kWordLanes;
      Floats value = hn::Mul(hn::ConvertTo(df, totals[v][t]), block_scale);
      if constexpr (kHasMin<kType>) {
        const Words correction = PanelCorrection<kType>(rows.Word(rows.panel->corrections, v), x, t);
        value = hn::NegMulAdd(hn::ConvertTo(df, correction), hn::Load(df, mins), value);
      }
      hn::Store(hn::MulAdd(value, hn::Set(df, x.scales[t * x.scale_stride]), hn::Load(df, sum)), df, sum);
    }
  }
}

// The same with a float scale for each of `blocks` blocks of 32 columns.
template <WeightType kType, std::size_t kSumStride>
HWY_INLINE void MultiplyPanel32(const PanelRows& rows, std::size_t blocks, const TokenRows& x, float* HWY_RESTRICT sums) {
  // With 32 registers the sums stay in them.
  constexpr bool kKeepSums = kWordLanes == 16;
  const FloatTag df;
  const WordTag di;
  [[maybe_unused]] Floats kept[kPanelVectors][kPanelTokens];
  if constexpr (kKeepSums) {
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) kept[v][t] = hn::Load(df, sums + t * kSumStride + v * kWordLanes);
    }
  }
  for (std::size_t b = 0; b < blocks; ++b) {
    PanelTile dots;
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kPanelVectors; ++v) {
        if constexpr (kPanelProduct<kType> == PanelProduct::kSigned) {
          dots[v][t] = LoadAlignedWords(rows.Word(rows.panel->corrections, v) + b * kWordBytes);
        } else if constexpr (kPanelOffset<kType> != 0) {
          dots[v][t] = hn::Set(di, -kPanelOffset<kType> * x.sums[t * x.sum_stride + b]);
        } else {
          dots[v][t] = hn::Zero(di);
        }
      }
    }
    AccumulatePanel32<kType>(rows, 8 * b, x.values, x.value_stride, dots);
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      const Floats block_scale = hn::Load(df, rows.Scale(rows.panel->block_scales, v) + b * kRowTile);
      [[maybe_unused]] const float* mins = rows.Scale(rows.panel->block_mins, v) + b * kRowTile;
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) {
        Floats value = hn::Mul(hn::ConvertTo(df, dots[v][t]), block_scale);
        if constexpr (kHasMin<kType>) {
          const Floats token_sum = hn::ConvertTo(df, hn::Set(di, x.sums[t * x.sum_stride + b]));
          value = hn::MulAdd(token_sum, hn::Load(df, mins), value);
        }
        const Floats token_scale = hn::Set(df, x.scales[t * x.scale_stride + b]);
        float* to = sums + t * kSumStride + v * kWordLanes;
        if constexpr (kKeepSums) {
          kept[v][t] = hn::MulAdd(value, token_scale, kept[v][t]);
        } else {
          hn::Store(hn::MulAdd(value, token_scale, hn::Load(df, to)), df, to);
        }
      }
    }
  }
  if constexpr (kKeepSums) {
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) hn::Store(kept[v][t], df, sums + t * kSumStride + v * kWordLanes);
    }
  }
}

// Row tiles, and their results, that are processed together.
inline constexpr std::size_t kPanelStride = kPanelTiles * kRowTile;

// results[t * kPanelStride + r] += `blocks` blocks of the panels times tokens [0, tokens). Apart from MultiplyPanels, and
// with arguments by value, so that the compiler keeps the register tile in registers.
template <WeightType kType>
HWY_NOINLINE void MultiplyPanelTokens(const Panel* HWY_RESTRICT panels, std::size_t blocks, TokenRows x, std::size_t tokens,
                                      float* HWY_RESTRICT results) {
  for (std::size_t token = 0; token < tokens; token += kPanelTokens) {
    for (std::size_t lane = 0; lane < kPanelStride; lane += kPanelVectors * kWordLanes) {
      if constexpr (Info(kType).block_values == 32) {
        MultiplyPanel32<kType, kPanelStride>({panels, lane}, blocks, x, results + lane);
      } else {
        MultiplyPanel256<kType, kPanelStride>({panels, lane}, x, results + lane);
      }
    }
    x = x.From(kPanelTokens);
    results += kPanelTokens * kPanelStride;
  }
}

// results[t * kPanelStride + r] = row r of kPanelTiles row tiles, `tile_bytes` apart, times token t of `tokens`, at least
// kPanelTokens and at most kPanelBlock. Where tokens do not fill the last register tile, it moves back to end with the last
// token: its results, which are the last kPanelTokens of results, begin with tokens that the tile before has, too.
template <WeightType kType>
HWY_NOINLINE void MultiplyPanels(const std::uint8_t* HWY_RESTRICT tiles, std::size_t tile_bytes, std::size_t cols,
                                 const TokenRows& x, std::size_t tokens, float* HWY_RESTRICT results) {
  constexpr std::size_t kValues = Info(kType).block_values;
  constexpr std::size_t kBlockBytes = PackedBlockBytes(kType);
  // Tokens between two looks ahead.
  constexpr std::size_t kStep = 4 * kPanelTokens;
  const std::size_t whole = tokens - tokens % kPanelTokens;
  Panel panels[kPanelTiles];
  std::memset(results, 0, RoundUp(tokens, kPanelTokens) * kPanelStride * sizeof(float));
  for (std::size_t col = 0; col < cols; col += kColumnGroup) {
    const std::size_t blocks = GroupBlocks(kType, cols - col);
    const std::uint8_t* packed = tiles + col / kValues * kBlockBytes;
    for (std::size_t tile = 0; tile < kPanelTiles; ++tile) {
      UnpackPanel<kType>(packed + tile * tile_bytes, blocks, panels[tile]);
    }
    // The weights that are unpacked next come from memory meanwhile.
    const std::size_t bytes = blocks * kBlockBytes;
    const std::size_t lines = DivideUp(bytes, 64 * DivideUp(tokens, kStep));
    std::size_t ahead = bytes;
    for (std::size_t token = 0; token < tokens; token += kStep) {
      for (std::size_t i = 0; i < lines; ++i, ahead += 64) {
        for (std::size_t tile = 0; tile < kPanelTiles; ++tile) __builtin_prefetch(packed + tile * tile_bytes + ahead);
      }
      if (token == whole) break;
      MultiplyPanelTokens<kType>(panels, blocks, x.From(token).template FromBlock<kValues>(col / kValues),
                                 whole - token < kStep ? whole - token : kStep, results + token * kPanelStride);
    }
    if (whole != tokens) {
      MultiplyPanelTokens<kType>(panels, blocks, x.From(tokens - kPanelTokens).template FromBlock<kValues>(col / kValues),
                                 kPanelTokens, results + whole * kPanelStride);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard
